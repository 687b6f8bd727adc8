"""Texts of what has gone wrong somewhere, drawn piece by piece."""

from hypothesis import strategies as st

# fmt: off
CHUNKS = [
    "[MASK]", "[CLS]", "[SEP]", "<pad>", "<unk>", "<PAD>", "[mask]", "[MASK", "MASK]", "<ent>", "<ENT>", "Foo", "oo b",
    " ", "  ", "\t", "\n", "\r", "\x0b", "\x1c", "\x1f", "\x85", "\xa0", "\u2003", "\u200b", "\u3000", "\u2028", "\ufeff",
    "\x00", "\x01", "\x7f", "\xad", "\u180e", "\ufffd", "\u0378", "\ue000", "\U0010ffff", "\U000e0001",
    "1", "2,", "1999,", "9,9", "3,4,5", ",", "\u00b2,", "\u0663,", "\u2460,", "\uff11\uff0c", "a1,", "\U0001d7d8,",
    "``", "''", "`", "'", '"', "'' ``", "(", ")", "-", ".", "\u2013", "\u00a3", "\u20ac", "\u2026", "\u00bd", "\u2044",
    "e\u0301", "\u00e9", "\u00c9", "q\u0323\u0307", "\u0301", "\u0327\u0301", "\u0345", "\u00c5", "\u212b",
    "\u03a3", "\u039f\u0394\u039f\u03a3", "a\U0001d6ba", "\u1e9e", "\u00df", "\u0130", "\u0131", "\u0130,", "\u01c4",
    "\ufb01", "\uff21", "\uff71", "\ud55c", "\u1112\u1161\u11ab", "\u6f22", "\u0915\u0940", "\ufdfa", "\u2581", "\u2581a",
    "\U0001f600", "\U0001f469\u200d\u2764\u200d\U0001f468", "\U0001f1e9\U0001f1ea", "the", "The", "light", "ing", "don't",
]
# fmt: on
TEXT = st.one_of(
    st.lists(st.sampled_from(CHUNKS), max_size=10).map("".join),
    st.lists(st.sampled_from(CHUNKS), max_size=8).map(" ".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
