"""What a call gives, as one table of arrays."""


def flat(out):
    """Each array under its name; one of a tuple under its number too. Traced ones are left out."""
    arrays = {}
    for key, value in out.items():
        if isinstance(value, tuple):
            arrays |= {f"{key}.{i}": x for i, x in enumerate(value)}
        elif key != "trace":
            arrays[key] = value
    return arrays


def everything(out):
    """Each array under its name, traced ones too; numbers where the truth has them."""
    return flat(out) | {f"trace.{name}": x for name, x in (out.trace or {}).items()}
