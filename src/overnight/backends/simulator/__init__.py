"""A backend that needs no model: for demos, tests and other people's pipelines."""

from overnight.backends.simulator.script import SimulatorScript, load_script
from overnight.backends.simulator.simulator import Simulator

__all__ = ["Simulator", "SimulatorScript", "load_script"]
