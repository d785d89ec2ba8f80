"""The published systems that this project takes its methods from: what each became here, and what of it was measured.

`homes` are names of methods, formats and arithmetic as `methods` lists them; where a name means several, with its kind
in front ("metric.noise"). One that is not listed is not there yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qcompile import documents
from qcompile.records import dataclass

NOT_YET = "not yet"
CONTEXT = "context"


@dataclass(frozen=True)
class System:
    """One paper. arxiv: its number; homes: names of what it became; took: of papers that became no method, what of
    them is here.
    """

    name: str
    title: str
    arxiv: str
    homes: tuple[str, ...] = ()
    took: str = ""

    def row(self, listed: Mapping[str, Sequence[Mapping[str, str]]], values: Mapping[str, Any]) -> dict[str, str]:
        """listed: what there is, by its name and by kind.name; values: see `measured`."""
        found = [r for home in self.homes for r in listed.get(home, ())]
        known = [f"{home}: {values[home]['value']}" for home in self.homes if home in values]
        return {
            "system": self.name,
            "title": self.title,
            "paper": f"arXiv {self.arxiv}",
            "kind": _joined(r["kind"] for r in found) or (CONTEXT if self.took else NOT_YET),
            "home": _joined(f"{r['kind']} {r['name']}" for r in found) or self.took or NOT_YET,
            "where": _joined(r["where"] for r in found),
            "missing": ", ".join(home for home in self.homes if home not in listed),
            "measured": "; ".join(known) or ("" if self.took else NOT_YET),
        }


def systems(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """A row per paper, of what `methods` lists."""
    listed: dict[str, list[Mapping[str, str]]] = {}
    for r in rows:
        for key in (r["name"], f"{r['kind']}.{r['name']}"):
            listed.setdefault(key, []).append(r)
    values = measured()
    return [s.row(listed, values) for s in SYSTEMS]


def measured() -> dict[str, Any]:
    """What `benchmarks/methods.py` found: by name {claim, value, held}."""
    return dict(documents.read(Path(__file__).with_name("measured.json"), "the measured values"))


def _joined(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


SYSTEMS = (
    System("FIT", "FIT: A Metric for Model Sensitivity", "2210.08502", ("fit",)),
    System(
        "IAH",
        "Augmenting Hessians with Inter-Layer Dependencies for Mixed-Precision Post-Training Quantization",
        "2306.04879",
        ("interaction", "bisect", "iqp"),
    ),
    System(
        "MixQuant",
        "MixQuant: Mixed Precision Quantization with a Bit-width Optimization Search",
        "2309.17341",
        ("roundoff", "error_ratio"),
    ),
    System(
        "QFT",
        "QFT: Post-training quantization via fast joint finetuning of all degrees of freedom",
        "2212.02634",
        ("qft",),
    ),
    System(
        "ViDiT-Q",
        "ViDiT-Q: Efficient and Accurate Quantization of Diffusion Transformers for Image and Video Generation",
        "2406.02540",
        ("metric.decoupled", "search.decoupled", "smooth", "dynamic_token"),
    ),
    System(
        "DGQ",
        "Dual Grained Quantization: Efficient Fine-Grained Quantization for LLM",
        "2310.04836",
        ("dual_grain",),
    ),
    System(
        "OliVe",
        "OliVe: Accelerating Large Language Models via Hardware-friendly Outlier-Victim Pair Quantization",
        "2304.07493",
        ("ovp",),
    ),
    System(
        "ZipCache",
        "ZipCache: Accurate and Efficient KV Cache Quantization with Salient Token Identification",
        "2405.14256",
        ("channel_separable",),
    ),
    System("Genie", "Genie: Show Me the Data for Quantization", "2212.04780", ("bn_generator", "qdrop")),
    System(
        "ZeroQuant-V2",
        "ZeroQuant-V2: Exploring Post-training Quantization in LLMs from Comprehensive Study to Low Rank Compensation",
        "2303.08302",
        ("lorc",),
    ),
    System(
        "SliM-LLM",
        "SliM-LLM: Salience-Driven Mixed-Precision Quantization for Large Language Models",
        "2405.14917",
        ("salience", "group_bits"),
    ),
    System("decoupleQ", "decoupleQ: Towards 2-bit Post-Training Uniform Quantization", "2404.12759", ("decoupleq",)),
    System(
        "I-ViT",
        "I-ViT: Integer-only Quantization for Efficient Vision Transformer Inference",
        "2207.01405",
        ("int_softmax", "int_layernorm", "ivit", "multiply_add_shift"),
    ),
    System(
        "ASQ / POST",
        "Enhancing the performance of quantization with adaptive step size and power of square root of two",
        "2504.17263",
        ("asq", "pow_sqrt2"),
    ),
    System(
        "Minifloats on FPGAs",
        "Post-Training Quantization with Low-precision Minifloats and Integers on FPGAs",
        "2311.12359",
        ("minifloat", "grid.float"),
    ),
    System(
        "Mind the Gap",
        "Mind the Gap: A Practical Attack on GGUF Quantization",
        "2505.23786",
        ("quant_audit", "float_agreement"),
    ),
    System(
        "ZeroQuant(4+2)",
        "ZeroQuant(4+2): Redefining LLMs Quantization with a New FP6-Centric Strategy",
        "2312.08583",
        ("plane_pack",),
    ),
    System(
        "Q-BERT",
        "Q-BERT: Hessian Based Ultra Low Precision Quantization of BERT",
        "1909.05840",
        ("hessian_eig",),
    ),
    System(
        "Gradient-based PTQ study",
        "Gradient-Based Post-Training Quantization: Challenging the Status Quo",
        "2308.07662",
        ("gradient",),
    ),
    System(
        "PulseDL-II",
        "PulseDL-II: A System-on-Chip Neural Network Accelerator for Timing and Energy Extraction of Nuclear Detector"
        " Signals",
        "2209.00884",
        ("processor",),
    ),
    System(
        "Whitepaper",
        "Quantizing deep convolutional networks for efficient inference: A whitepaper",
        "1806.08342",
        ("fold_bn", "grid.int", "rtn"),
    ),
    System("NVFP4", "Pretraining Large Language Models with NVFP4", "2509.25149", ("nvfp", "mx", "hadamard")),
    System(
        "AccLLM",
        "AccLLM: Accelerating Long-Context LLM Inference Via Algorithm-Hardware Co-Design",
        "2505.03745",
        ("dsp_pack", "prune_nm"),
    ),
    System(
        "BeyondBench",
        "BeyondBench: Benchmark-Free Evaluation of Reasoning in Language Models",
        "2509.24210",
        took="tests are random graphs, shapes and formats that are made anew, each with an exact oracle",
    ),
    System("BitMoD", "BitMoD: Bit-serial Mixture-of-Datatype LLM Acceleration", "2411.11745", ("bitmod",)),
    System(
        "Q-Palette",
        "Q-Palette: Fractional-Bit Quantizers Toward Optimal Bit Allocation for Efficient LLM Deployment",
        "2509.20214",
        ("rd_gauss", "ilp"),
    ),
    System(
        "HideNseek",
        "HideNseek: Federated Lottery Ticket via Server-side Pruning and Sign Supermask",
        "2206.04385",
        took="nothing is compiled differently: weights of one size and any signs are a format of one bit with a scale",
    ),
    System(
        "Teacher Intervention",
        "Teacher Intervention: Improving Convergence of Quantization Aware Training for Ultra-Low Precision"
        " Transformers",
        "2302.11812",
        ("intervention",),
    ),
    System(
        "FlexRound",
        "FlexRound: Learnable Rounding based on Element-wise Division for Post-Training Quantization",
        "2306.00317",
        ("flexround",),
    ),
    System(
        "AdaDim",
        "Rethinking Channel Dimensions to Isolate Outliers for Low-bit Weight Quantization of Large Language Models",
        "2309.15531",
        ("grid.group",),
    ),
    System(
        "GPUSQ-ViT",
        "Boost Vision Transformer with GPU-Friendly Sparsity and Quantization",
        "2305.10727",
        ("prune_nm",),
    ),
    System(
        "Outlier Suppression+",
        "Outlier Suppression+: Accurate quantization of large language models by equivalent and optimal shifting and"
        " scaling",
        "2304.09145",
        ("shift_scale",),
    ),
    System(
        "RepQ-ViT",
        "RepQ-ViT: Scale Reparameterization for Post-Training Quantization of Vision Transformers",
        "2212.08254",
        ("scale_reparam", "log_sqrt2"),
    ),
    System(
        "QWHA",
        "QWHA: Quantization-Aware Walsh-Hadamard Adaptation for Parameter-Efficient Fine-Tuning on Large Language"
        " Models",
        "2509.17428",
        ("hadamard",),
    ),
    System(
        "LRQ-DiT",
        "LRQ-DiT: Log-Rotation Post-Training Quantization of Diffusion Transformers for Image and Video Generation",
        "2508.03485",
        ("twin_log", "rotate"),
    ),
    System(
        "VQ-NeRF",
        "VQ-NeRF: Vector Quantization Enhances Implicit Neural Representations",
        "2310.14487",
        took="the idea of a codebook: the format codebook(...) codes a tensor by places in a list",
    ),
    System(
        "PTQ1.61",
        "PTQ1.61: Push the Real Limit of Extremely Low-Bit Post-Training Quantization Methods for Large Language"
        " Models",
        "2502.13179",
        ("binary_scaled", "permute_channels"),
    ),
    System(
        "CBQ",
        "CBQ: Cross-Block Quantization for Large Language Models",
        "2312.07950",
        ("cbq", "clip_outliers"),
    ),
    System(
        "PTQTP",
        "PTQTP: Post-Training Quantization to Trit-Planes for Large Language Models",
        "2509.16989",
        ("tritplane",),
    ),
    System(
        "Quantune",
        "Quantune: Post-training Quantization of Convolutional Neural Networks using Extreme Gradient Boosting for Fast"
        " Deployment",
        "2202.05048",
        ("surrogate",),
    ),
    System(
        "RepQuant",
        "RepQuant: Towards Accurate Post-Training Quantization of Large Transformer Models via Scale"
        " Reparameterization",
        "2402.05628",
        ("scale_reparam", "dual_clip"),
    ),
    System(
        "LightGaussian",
        "LightGaussian: Unbounded 3D Gaussian Compression with 15x Reduction and 200+ FPS",
        "2311.17245",
        ("codebook", "salient"),
    ),
    System(
        "UniLIP",
        "UniLIP: Adapting CLIP for Unified Multimodal Understanding, Generation and Editing",
        "2507.23278",
        took="the loss of self-distillation: trainings compare a network with its own float results",
    ),
    System(
        "AdaPT",
        "Adaptive Precision Training (AdaPT): A dynamic fixed point quantized training approach for DNNs",
        "2107.13490",
        ("kl_hist", "lossless_min"),
    ),
    System("ZeroQ", "ZeroQ: A Novel Zero Shot Quantization Framework", "2001.00281", ("bn_distill", "kl_output")),
    System(
        "QuantNAS",
        "QuantNAS for super resolution: searching for efficient quantization-friendly architectures against"
        " quantization noise",
        "2208.14839",
        ("metric.noise", "rounding.noise"),
    ),
    System(
        "Low-bit FP diffusion",
        "Low-Bitwidth Floating Point Quantization for Efficient High-Quality Diffusion Models",
        "2408.06995",
        ("grid.float", "adaround"),
    ),
    System(
        "QFX",
        "Trainable Fixed-Point Quantization for Deep Learning Acceleration on FPGAs",
        "2401.17544",
        ("grid.fixed", "binary_point", "khot"),
    ),
    System(
        "MixDQ",
        "MixDQ: Memory-Efficient Few-Step Text-to-Image Diffusion Models with Metric-Decoupled Mixed Precision"
        " Quantization",
        "2405.17873",
        ("ilp", "metric.decoupled", "search.decoupled"),
    ),
    System(
        "EfficientDM",
        "EfficientDM: Efficient Quantization-Aware Fine-Tuning of Low-Bit Diffusion Models",
        "2310.03270",
        ("qalora",),
    ),
    System(
        "QuEST",
        "QuEST: Low-bit Diffusion Model Quantization via Efficient Selective Finetuning",
        "2402.03666",
        ("selective",),
    ),
    System(
        "FLIQS", "FLIQS: One-Shot Mixed-Precision Floating-Point and Integer Quantization Search", "2308.03290", ("rl",)
    ),
    System(
        "ShiftQuant",
        "Towards Accurate and Efficient Sub-8-Bit Integer Training",
        "2411.10948",
        ("po2_group", "l1_norm"),
    ),
    System(
        "Pareto ResNet",
        "Pareto-Optimal Quantized ResNet Is Mostly 4-bit",
        "2105.03536",
        ("bops", "pareto"),
    ),
    System(
        "SplitQuant",
        "SplitQuant: Layer Splitting for Low-Bit Neural Network Quantization",
        "2501.12428",
        ("split_layers",),
    ),
    System(
        "COMET",
        "COMET: Towards Practical W4A4KV4 LLMs Serving",
        "2410.12168",
        ("permute_channels",),
    ),
    System(
        "Adaptive bit switching",
        "Nearly Lossless Adaptive Bit Switching",
        "2502.01199",
        ("nested", "switch"),
    ),
    System("EQ-Net", "EQ-Net: Elastic Quantization Neural Networks", "2308.07650", ("ga",)),
    System(
        "HAWQ-V2",
        "HAWQ-V2: Hessian Aware trace-Weighted Quantization of Neural Networks",
        "1911.03852",
        ("hawq_v2", "pareto"),
    ),
)
