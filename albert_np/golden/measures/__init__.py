"""How far two arrays are apart: metrics, units in the last place, number formats, the rules of other projects."""
