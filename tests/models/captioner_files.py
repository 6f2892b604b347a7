"""Small captioners in their true layouts, written to folders."""

from __future__ import annotations

from pathlib import Path

import torch

WORDS = ("cat", "dog", "castle", "sky", "red", "house", "on", "the", "hill", "with", "snow")
OWN = ("a", "picture", "of")


def write_blip(folder: Path, always: str = "") -> None:
    """A BLIP of random weights with a vocabulary of a few words; `always`: the word that it says whatever it sees."""
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipTextConfig, BlipVisionConfig

    folder.mkdir(parents=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *OWN, *WORDS, "[DEC]"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    size = len(vocabulary)
    text = BlipTextConfig(
        vocab_size=size,
        hidden_size=32,
        encoder_hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        bos_token_id=size - 1,
        eos_token_id=3,
        sep_token_id=3,
        pad_token_id=0,
    )
    vision = BlipVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    config = BlipConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BlipForConditionalGeneration(config)
    with torch.no_grad():
        bias = model.text_decoder.cls.predictions.bias
        for word in ("[PAD]", "[UNK]", "[CLS]", "[MASK]", "[DEC]", *OWN):
            bias[vocabulary.index(word)] = -100.0
        if always:
            bias[vocabulary.index(always)] = 100.0
    model.save_pretrained(folder)
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)


def write_tagger(folder: Path) -> None:
    """A tagger of three tags: the mean blue, green and red, -5 for 0 to 5 for 255, through a sigmoid."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    folder.mkdir(parents=True)
    scale = numpy_helper.from_array(np.float32(10 / 255), "scale")
    shift = numpy_helper.from_array(np.float32(-5), "shift")
    axes = numpy_helper.from_array(np.array([1, 2], dtype=np.int64), "axes")
    steps = [
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["moved"]),
        helper.make_node("Sigmoid", ["moved"], ["probabilities"]),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 16, 16, 3])
    out = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(steps, "tagger", [pixels], [out], [scale, shift, axes])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), folder / "model.onnx")
    rows = ["tag_id,name,category,count", "1,blue_sky,0,9", "2,general,9,9", "3,red_(colour),0,9"]
    (folder / "selected_tags.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
