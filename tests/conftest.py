"""Hypothesis profiles: `ci` (the default) repeats the same cases; `explore` draws 2,000 new ones a property.

pytest --hypothesis-profile=explore
"""

from hypothesis import HealthCheck, settings

settings.register_profile("ci", derandomize=True, deadline=None, database=None, print_blob=True, max_examples=50)
settings.register_profile(
    "explore", derandomize=False, deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci")
