"""The stages `check`, `fetch`, `run`, `report`: one function each; they never import each other."""
