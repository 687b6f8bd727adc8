"""What the notebooks import beside the package, since they define no functions. Jupyter finds it beside them."""
