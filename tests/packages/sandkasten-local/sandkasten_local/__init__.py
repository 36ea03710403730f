"""An engine and a kernel as a third party would bring them."""
