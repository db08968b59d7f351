"""Put this folder on the path, so that every test can import `reference`; let what tests start hear SIGINT."""

import signal


def pytest_configure() -> None:
    """A shell's background jobs ignore SIGINT, and so would every process that a test starts and interrupts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
