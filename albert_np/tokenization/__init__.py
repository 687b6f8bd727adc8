"""Text to ids and back, one idea a module.

tokenizer       AlbertTokenizer itself: made from files, called, saved
settings        what may be set on it between calls
token_lookup    tokens, ids, and which of them are special
rows            texts to rows: special tokens around them, and what a call asks for
lengths         truncation and windows
padding         rows to one length
batch           a row, and the BatchEncoding that a call returns
text_inputs     what people may hand a tokenizer: one text or a batch
styles          whose rules cut a text into pieces: "hf_slow", "google", "hf_fast"
piece_encoder   the first two, through SentencePiece
fast            the third, through `tokenizers`
spiece          a spiece.model, checked before SentencePiece sees it
protobuf        the wire form of that file
charsmap        the trie of replacements inside it
vocabulary      pieces and added tokens: text to id, id to text
alignment       which character of the caller's string a normalised character stems from
added_tokens    tokens found in a text before it is cut into pieces
decoding        pieces to text
files           tokenizer_config.json and its companions
"""
