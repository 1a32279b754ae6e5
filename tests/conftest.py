"""What holds for all tests."""

from hypothesis import settings

# whichever test comes to a kernel first waits seconds until it is compiled
settings.register_profile("plumbago", deadline=None)
settings.load_profile("plumbago")
