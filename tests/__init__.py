"""The tests of DHT-14, run by trial."""

from hypothesis import HealthCheck, settings

# How fast the machine is says nothing about the code.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")
