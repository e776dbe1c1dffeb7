"""MiniCPM-V 2.6 written out in float64 from the published rules, reading the published names.

Nothing of vidapt is used here: pixels come from Pillow, the tower and the resampler are the equations, and
the language model is transformers' Qwen2, fed with embeddings.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

SIDE, PATCH, TABLE, QUERIES, HEAD = 56, 14, 70, 6, 128
C, C_HEADS, LAYERS, D = 16, 2, 2, 256

MARKS = ["<image>", "</image>", "<slice>", "</slice>", "<image_id>", "</image_id>"]
MARKS += ["<unk>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"]

VISION = {
    "hidden_size": C,
    "image_size": PATCH * TABLE,
    "intermediate_size": 24,
    "model_type": "siglip",
    "num_attention_heads": C_HEADS,
    "num_hidden_layers": LAYERS,
    "patch_size": PATCH,
}
LANGUAGE = {
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "hidden_size": D,
    "initializer_range": 0.1,
    "intermediate_size": 64,
    "max_position_embeddings": 8192,
    "max_window_layers": 28,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "sliding_window": 131072,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 280,
}
CONFIG = {
    "_name_or_path": "openbmb/MiniCPM-V-2_6",
    "version": 2.6,
    "architectures": ["MiniCPMV"],
    "auto_map": {"AutoConfig": "configuration_minicpm.MiniCPMVConfig"},
    "batch_vision_input": True,
    "drop_vision_last_layer": False,
    "image_size": SIDE,
    "model_type": "minicpmv",
    "patch_size": PATCH,
    "query_num": QUERIES,
    "slice_config": {"max_slice_nums": 9, "patch_size": PATCH, "model_type": "minicpmv"},
    "slice_mode": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.40.0",
    "use_cache": True,
    "use_image_id": True,
    "vision_config": VISION,
    **LANGUAGE,
}
PIXELS = {
    "image_processor_type": "MiniCPMVImageProcessor",
    "image_feature_size": QUERIES,
    "im_start": "<image>",
    "im_end": "</image>",
    "slice_start": "<slice>",
    "slice_end": "</slice>",
    "im_id_start": "<image_id>",
    "im_id_end": "</image_id>",
    "unk": "<unk>",
    "max_slice_nums": 9,
    "norm_mean": [0.5, 0.5, 0.5],
    "norm_std": [0.5, 0.5, 0.5],
    "patch_size": PATCH,
    "scale_resolution": SIDE,
    "slice_mode": True,
    "use_image_id": True,
    "version": 2.6,
}


NEWER = {"head_dim": 64}
JOIN, SECONDS = 3, 1 / 3
"""Of version 4.5: of Qwen3; frames that are read together, and from one to the next."""


def llm_of(version: float) -> Qwen2ForCausalLM | Qwen3ForCausalLM:
    if version == 4.5:
        return Qwen3ForCausalLM(Qwen3Config(**LANGUAGE, **NEWER))
    return Qwen2ForCausalLM(Qwen2Config(**LANGUAGE))


def write(folder: Path, version: float = 2.6) -> Path:
    """A tiny random checkpoint in the published layout."""
    folder.mkdir(parents=True, exist_ok=True)
    newer = {**NEWER, "batch_3d_resampler": True} if version == 4.5 else {}
    (folder / "config.json").write_text(json.dumps({**CONFIG, **newer, "version": version}))
    (folder / "preprocessor_config.json").write_text(json.dumps({**PIXELS, "version": version}))
    save_file(_weights(version), folder / "model.safetensors")
    _tokenizer().save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    theirs = {
        "tokenizer_class": "MiniCPMVTokenizerFast",
        "auto_map": {"AutoTokenizer": [None, "tokenization_minicpmv_fast.MiniCPMVTokenizerFast"]},
    }
    path.write_text(json.dumps({**json.loads(path.read_text()), **theirs}))
    return folder


def _weights(version: float) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(4)

    def noise(*shape: int, scale: float = 0.3) -> Tensor:
        return torch.randn(*shape, generator=generator) * scale

    torch.manual_seed(4)
    llm = llm_of(version)
    state = {f"llm.{k}": v + noise(*v.shape, scale=0.05) for k, v in llm.state_dict().items()}
    state["vpm.embeddings.patch_embedding.weight"] = noise(C, 3, PATCH, PATCH, scale=0.08)
    state["vpm.embeddings.patch_embedding.bias"] = noise(C)
    state["vpm.embeddings.position_embedding.weight"] = noise(TABLE**2, C, scale=1.0)
    linear: dict[str, tuple[int, int]] = {"mlp.fc1": (24, C), "mlp.fc2": (C, 24)}
    linear |= {f"self_attn.{name}_proj": (C, C) for name in ("q", "k", "v", "out")}
    for layer in range(LAYERS):
        stem = f"vpm.encoder.layers.{layer}"
        for name, shape in linear.items():
            state[f"{stem}.{name}.weight"], state[f"{stem}.{name}.bias"] = noise(*shape), noise(shape[0])
        for name in ("layer_norm1", "layer_norm2"):
            state[f"{stem}.{name}.weight"], state[f"{stem}.{name}.bias"] = 1 + noise(C), noise(C)
    for name, width in (("vpm.post_layernorm", C), *((f"resampler.ln_{n}", D) for n in ("q", "kv", "post"))):
        state[f"{name}.weight"], state[f"{name}.bias"] = 1 + noise(width), noise(width)
    state["resampler.query"] = noise(QUERIES, D, scale=1.0)
    state["resampler.kv_proj.weight"] = noise(D, C)
    state["resampler.attn.in_proj_weight"] = noise(3 * D, D, scale=0.12)
    state["resampler.attn.in_proj_bias"] = noise(3 * D)
    state["resampler.attn.out_proj.weight"] = noise(D, D, scale=0.1)
    state["resampler.attn.out_proj.bias"] = noise(D)
    state["resampler.proj"] = noise(D, D, scale=0.1)
    return state


def _tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and the marks."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: index for index, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", unk_token="<unk>"
    )


@dataclass(frozen=True)
class Mistakes:
    """Ways to be wrong, each of which must show."""

    rows_first: bool = False
    on_values: bool = False
    column_major: bool = False
    views_after_views: bool = False
    no_numbers: bool = False
    no_norm: bool = False
    no_times: bool = False


@dataclass
class Reference:
    """The model of a folder in float64."""

    folder: Path
    mistakes: Mistakes = field(default_factory=Mistakes)

    def __post_init__(self) -> None:
        state = load_file(self.folder / "model.safetensors")
        self.w = {key: tensor.double() for key, tensor in state.items()}
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(self.folder)
        self.version: float = json.loads((self.folder / "config.json").read_text())["version"]
        self.llm = llm_of(self.version).double().eval()
        self.llm.load_state_dict(
            {k.removeprefix("llm."): v for k, v in self.w.items() if k.startswith("llm.")}
        )

    def logits(self, clips: list[Tensor], question: str, answer: str) -> Tensor:
        """[tokens of the answer and its end, vocabulary]: what predicts them."""
        embedded, count = self.embed(clips, question, f"{answer}<|im_end|>")
        return self.llm(inputs_embeds=embedded).logits[0, -count - 1 : -1]

    def generate(self, clips: list[Tensor], question: str, new: int) -> list[int]:
        embedded, _ = self.embed(clips, question, "")
        mask = torch.ones(embedded.shape[:2], dtype=torch.long)
        options = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
        return self.llm.generate(inputs_embeds=embedded, attention_mask=mask, max_new_tokens=new, **options)[
            0
        ].tolist()

    def embed(self, clips: list[Tensor], question: str, answer: str) -> tuple[Tensor, int]:
        """[1, L, D], and how many tokens the answer has."""
        newer = self.version == 4.5
        system = "" if newer else "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        read: list[str | Tensor] = [f"{system}<|im_start|>user\n"]
        for number, clip in enumerate(clips):
            read += [*self.media(clip, number), "\n"]
        thought = "<think>\n\n</think>\n\n" if newer else ""
        read += [f"{question}<|im_end|>\n<|im_start|>assistant\n{thought}"]
        return torch.cat([self._words(read), self._words([answer])])[None], len(self._ids(answer))

    def media(self, clip: Tensor, number: int) -> list[str | Tensor]:
        """What is read of one clip: its frames, a line each."""
        still = len(clip) == 1
        if self.version == 4.5 and not still:
            return self._groups(clip)
        most = 9 if still else 2 if len(clip) <= 16 else 1
        numbered = still and not self.mistakes.no_numbers
        whole: list[str | Tensor] = []
        later: list[str | Tensor] = []
        for moment, frame in enumerate(clip):
            front, behind = self._image(frame.numpy(), most)
            if moment:
                whole.append("\n")
            whole += [f"<image_id>{number}</image_id>"] if numbered else []
            whole += front
            (later if self.mistakes.views_after_views else whole).extend(behind)
        return whole + later

    def _groups(self, clip: Tensor) -> list[str | Tensor]:
        """Frames of version 4.5: a few of them together are one picture to the text, each on a line."""
        views = [cut(frame.numpy(), 1)[0] for frame in clip]
        read: list[str | Tensor] = []
        for first in range(0, len(views), JOIN):
            ticks = [round(at * SECONDS / 0.1) for at in range(first, min(first + JOIN, len(views)))]
            tokens = self._tokens(*views[first : first + JOIN], ticks=ticks)
            read += ["\n"] if first else []
            read += ["<image>", tokens, "</image>"]
        return read

    def _image(self, frame: np.ndarray, most: int) -> tuple[list[str | Tensor], list[str | Tensor]]:
        whole, rows = cut(frame, most)
        if self.mistakes.column_major and rows:
            order = [cell for column in zip(*rows, strict=True) for cell in column]
            rows = [order[i : i + len(rows[0])] for i in range(0, len(order), len(rows[0]))]
        slices: list[str | Tensor] = []
        for index, row in enumerate(rows):
            slices += ["\n"] if index else []
            for cell in row:
                slices += ["<slice>", self._tokens(cell), "</slice>"]
        return ["<image>", self._tokens(whole), "</image>"], slices

    def _words(self, read: list[str | Tensor]) -> Tensor:
        """Text that stands together is tokenised together."""
        pieces, text = [], ""
        for piece in [*read, ""]:
            if isinstance(piece, str):
                text += piece
                continue
            pieces += [self._lookup(text), piece]
            text = ""
        return torch.cat([*pieces, self._lookup(text)])

    def _lookup(self, text: str) -> Tensor:
        return self.w["llm.model.embed_tokens.weight"][torch.tensor(self._ids(text), dtype=torch.long)]

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def _tokens(self, *views: np.ndarray, ticks: list[int] | None = None) -> Tensor:
        """[H, W, 3] uint8 each, of one size -> [queries, D]; `ticks` are tenths of a second."""
        seen = torch.cat([self._tower(view) for view in views])
        rows, columns = views[0].shape[0] // PATCH, views[0].shape[1] // PATCH
        v = self._norm(seen @ self.w["resampler.kv_proj.weight"].T, "resampler.ln_kv")
        first, second = (
            _waves(columns, D // 2).repeat(rows, 1),
            _waves(rows, D // 2).repeat_interleave(columns, 0),
        )
        place = torch.cat([second, first] if self.mistakes.rows_first else [first, second], dim=-1)
        place = place.repeat(len(views), 1)
        if ticks is not None and not self.mistakes.no_times:
            place = place + _waves(max(ticks) + 1, D)[ticks].repeat_interleave(rows * columns, 0)
        q, k = self._norm(self.w["resampler.query"], "resampler.ln_q"), v + place
        v = k if self.mistakes.on_values else v
        weights = self.w["resampler.attn.in_proj_weight"].split(D)
        biases = self.w["resampler.attn.in_proj_bias"].split(D)
        q, k, v = (x @ a.T + b for x, a, b in zip((q, k, v), weights, biases, strict=True))
        read = self._linear(_attend(q, k, v, D // HEAD), "resampler.attn.out_proj")
        return self._norm(read, "resampler.ln_post") @ self.w["resampler.proj"]

    def _tower(self, view: np.ndarray) -> Tensor:
        """[H, W, 3] uint8 -> [patches, C]."""
        rows, columns = view.shape[0] // PATCH, view.shape[1] // PATCH
        pixels = (torch.from_numpy(view.copy()).double() / 255 - 0.5) / 0.5
        patches = (
            pixels.reshape(rows, PATCH, columns, PATCH, 3).permute(0, 2, 4, 1, 3).flatten(2).flatten(0, 1)
        )
        kernel = self.w["vpm.embeddings.patch_embedding.weight"].flatten(1)
        state = patches @ kernel.T + self.w["vpm.embeddings.patch_embedding.bias"]
        place = (_buckets(rows)[:, None] * TABLE + _buckets(columns)).flatten()
        state = state + self.w["vpm.embeddings.position_embedding.weight"][place]
        for layer in range(LAYERS):
            stem = f"vpm.encoder.layers.{layer}"
            normed = self._norm(state, f"{stem}.layer_norm1")
            q, k, v = (self._linear(normed, f"{stem}.self_attn.{name}_proj") for name in "qkv")
            state = state + self._linear(_attend(q, k, v, C_HEADS), f"{stem}.self_attn.out_proj")
            hidden = self._linear(self._norm(state, f"{stem}.layer_norm2"), f"{stem}.mlp.fc1")
            curve = torch.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3))
            state = state + self._linear(0.5 * hidden * (1 + curve), f"{stem}.mlp.fc2")
        return state if self.mistakes.no_norm else self._norm(state, "vpm.post_layernorm")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def _norm(self, x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return scaled * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    parts = zip(q.chunk(heads, -1), k.chunk(heads, -1), v.chunk(heads, -1), strict=True)
    return torch.cat(
        [torch.softmax(a @ b.T / math.sqrt(a.shape[-1]), dim=-1) @ c for a, b, c in parts], dim=-1
    )


def _waves(count: int, channels: int) -> Tensor:
    places = torch.arange(count, dtype=torch.float64)[:, None]
    angles = places / 10000 ** (torch.arange(channels // 2, dtype=torch.float64) / (channels / 2))
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _buckets(count: int) -> Tensor:
    fractions = torch.arange(0, 1 - 1e-6, 1 / torch.tensor(count, dtype=torch.int32))
    return torch.bucketize(fractions, torch.arange(1 / TABLE, 1.0, 1 / TABLE), right=True)


def grid(height: int, width: int, most: int) -> tuple[int, int] | None:
    """(columns, rows), or None for an image that is not sliced."""
    wanted = min(math.ceil(width * height / SIDE**2), most)
    if wanted <= 1:
        return None
    best, error = (1, 1), math.inf
    for count in (wanted - 1, wanted, wanted + 1):
        for columns in range(1, count + 1):
            if count == 1 or count > most or count % columns:
                continue
            found = abs(math.log(width / height) - math.log(columns * columns / count))
            if found < error - 1e-12:
                best, error = (columns, count // columns), found
    return best


def cut(frame: np.ndarray, most: int) -> tuple[np.ndarray, list[list[np.ndarray]]]:
    """The whole image, and rows of cells."""
    height, width = frame.shape[:2]
    image, chosen = Image.fromarray(frame), grid(height, width, most)
    whole = np.asarray(image.resize(_fit(width, height), Image.Resampling.BICUBIC))
    if chosen is None:
        return whole, []
    columns, rows = chosen
    w, h = _fit(_multiple(width, columns) / columns, _multiple(height, rows) / rows)
    refined = np.asarray(image.resize((w * columns, h * rows), Image.Resampling.BICUBIC))
    return whole, [
        [refined[r * h : r * h + h, c * w : c * w + w] for c in range(columns)] for r in range(rows)
    ]


def _fit(width: float, height: float) -> tuple[int, int]:
    tall = int(SIDE / math.sqrt(width / height))
    wide = int(tall * (width / height))
    return _multiple(wide, PATCH), _multiple(tall, PATCH)


def _multiple(length: float, unit: int) -> int:
    return max(round(length / unit) * unit, unit)


def placeholders(size: tuple[int, int], frames: int) -> int:
    """How many visual tokens a clip becomes."""
    chosen = grid(*size, 9 if frames == 1 else 2 if frames <= 16 else 1)
    return frames * QUERIES * (1 + (chosen[0] * chosen[1] if chosen else 0))
