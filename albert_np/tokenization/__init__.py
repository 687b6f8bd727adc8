"""Text to ids and back, one idea a module.

tokenizer       AlbertTokenizer itself
spiece          a spiece.model, checked before SentencePiece sees it
vocabulary      pieces and added tokens: text to id, id to text
piece_encoder   text to pieces: the styles "hf_slow" and "google"
fast            text to pieces: the style "hf_fast", through `tokenizers`
alignment       which character of the caller's string a normalised character stems from
added_tokens    tokens found in a text before it is cut into pieces
lengths, batch  truncation, windows, padding; rows to a BatchEncoding
decoding        pieces to text
files           tokenizer_config.json and its companions
"""
