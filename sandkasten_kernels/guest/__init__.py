"""The guest: PID 1 of every sandbox.

It needs the standard library and pyzmq only, and imports nothing of the gateway.
"""

#: Version of the protocol between guest and gateway. An image's label and the guest's hello carry it.
PROTOCOL = 2

#: The versions that the gateway accepts from guests which run already. New sandboxes have the current one.
PROTOCOLS = (PROTOCOL - 1, PROTOCOL)
