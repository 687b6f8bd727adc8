"""Somebody's own ALBERT: the modules of transformers' under their names, and attention written in other ways."""

import math

import torch


class OwnAlbert(torch.nn.Module):
    """way: "in place" (scores are changed where they lie), "bmm" (sequences and heads in one axis), "own softmax" (no function
    of that name), or "one activation" (a module that layers and pooler share is a function here)."""

    def __init__(self, model, way):
        super().__init__()
        self.embeddings, self.encoder, self.way = model.embeddings, model.encoder, way
        self.pooler, self.pooler_activation = model.pooler, model.pooler_activation
        (self.heads,) = {
            group.albert_layers[0].attention.num_attention_heads for group in self.encoder.albert_layer_groups
        }
        if way == "one activation":
            for group in self.encoder.albert_layer_groups:
                group.albert_layers[0].activation = None
        self.layers = model.config.num_hidden_layers

    def forward(self, input_ids, attention_mask, token_type_ids):
        x = self.encoder.embedding_hidden_mapping_in(self.embeddings(input_ids, token_type_ids=token_type_ids))
        hidden = (1 - attention_mask[:, None, None].to(x.dtype)) * torch.finfo(x.dtype).min
        for _ in range(self.layers):
            layer = self.encoder.albert_layer_groups[0].albert_layers[0]
            x = self.layer(layer, x, hidden)
        return self.pooler_activation(self.pooler(x[:, 0]))

    def layer(self, layer, x, hidden):
        B, T, H = x.shape
        attention = layer.attention
        q, k, v = (
            part(x).view(B, T, self.heads, H // self.heads).transpose(1, 2)
            for part in (attention.query, attention.key, attention.value)
        )
        if self.way == "bmm":
            q, k, v = (part.reshape(B * self.heads, T, -1) for part in (q, k, v))
            hidden = hidden.expand(B, self.heads, 1, T).reshape(-1, 1, T)
        scores = torch.bmm(q, k.mT) if self.way == "bmm" else q @ k.mT
        if self.way == "in place":
            scores /= math.sqrt(H // self.heads)
            scores += hidden
        else:
            scores = scores / math.sqrt(H // self.heads) + hidden
        if self.way == "own softmax":
            probs = (scores - scores.amax(-1, keepdim=True)).exp()
            probs = probs / probs.sum(-1, keepdim=True)
        else:
            probs = torch.softmax(scores, -1)
        mixed = torch.bmm(probs, v) if self.way == "bmm" else torch.einsum("bnqk,bnkd->bnqd", probs, v)
        mixed = mixed.reshape(B, self.heads, T, -1).transpose(1, 2).reshape(B, T, H)
        x = attention.LayerNorm(x + attention.dense(mixed))
        inner = layer.ffn(x)
        if layer.activation is None:
            inner = torch.nn.functional.gelu(inner, approximate="tanh")
        else:
            inner = layer.activation(inner)
        return layer.full_layer_layer_norm(layer.ffn_output(inner) + x)
