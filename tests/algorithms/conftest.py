import pytest

from gpkern._device import select


@pytest.fixture(scope="session")
def factors(device):
    """The dense factorisations of the device."""
    return select(device).linalg
