"""What a run is asked to do, as dataclasses."""
