"""What a small labelled set says of the task: a learning curve, where it leads, and how far that can be believed."""

from models.pilot.run import Pilot, pilot

__all__ = ["Pilot", "pilot"]
