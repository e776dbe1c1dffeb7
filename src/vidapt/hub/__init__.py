"""Published families: their key layouts, translated to ours and back.

Each family is one module of this folder. It says which configurations it claims (`CLAIMS`), describes
their model (`blueprint`), and holds the key tables (`rules`, `to_hub`).
"""

from vidapt.hub._adapter import base_of, open_adapter
from vidapt.hub._adapters_out import BASE, export_adapters
from vidapt.hub._describe import FamilyRow, describe_families
from vidapt.hub._export import export_hf, export_language, export_merged
from vidapt.hub._few_bits import Bits8, Rounding
from vidapt.hub._gguf import export_gguf
from vidapt.hub._open import (
    base_named_by,
    describe_checkpoint,
    families,
    family_of,
    is_published,
    open_checkpoint,
)
from vidapt.hub._open_dual import Lack, is_published_dual, open_dual_encoder
from vidapt.hub._parts import PublishedPart, holds_part, published_part
from vidapt.hub._parts_language import LanguagePart
from vidapt.hub._report import LoadReport
from vidapt.hub._tokenizer import is_mark, read_tokenizer
from vidapt.hub._translate import translate, translate_back

__all__ = [
    "BASE",
    "Bits8",
    "FamilyRow",
    "Lack",
    "LanguagePart",
    "LoadReport",
    "PublishedPart",
    "Rounding",
    "base_named_by",
    "base_of",
    "describe_checkpoint",
    "describe_families",
    "export_adapters",
    "export_gguf",
    "export_hf",
    "export_language",
    "export_merged",
    "families",
    "family_of",
    "holds_part",
    "is_mark",
    "is_published",
    "is_published_dual",
    "open_adapter",
    "open_checkpoint",
    "open_dual_encoder",
    "published_part",
    "read_tokenizer",
    "translate",
    "translate_back",
]
