"""The process that is PID 1 of every sandbox. Standard library and pyzmq only; it imports nothing of the gateway."""

#: Version of what guest and gateway say to each other; an image's label and the guest's hello carry it.
PROTOCOL = 2

#: Versions of guests that a gateway can still use where they run already; new sandboxes have the current one.
PROTOCOLS = (PROTOCOL - 1, PROTOCOL)
