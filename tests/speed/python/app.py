"""A task in Python, which brings its interpreter along."""

import wit_world


class WitWorld(wit_world.WitWorld):
    def divide(self, x: float, y: float) -> float:
        return x / y
