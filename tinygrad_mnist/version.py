"""Which version of tinygrad_mnist this is: the one place that says so, read by the build too."""

__version__ = "0.2.0"
