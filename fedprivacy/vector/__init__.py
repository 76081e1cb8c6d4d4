"""Vectors on their way into and out of a sum: flattening, stages, pipelines."""

from fedprivacy.vector.fixedpoint import FixedPoint, Weigh
from fedprivacy.vector.flatten import Layout
from fedprivacy.vector.pipeline import Aggregate, Encoded, Pipeline, Weights
from fedprivacy.vector.spec import BLOCK_VALUES, Lazy, Stage, Update, VectorSpec, chain, check_whole

__all__ = [
    "BLOCK_VALUES",
    "Aggregate",
    "Encoded",
    "FixedPoint",
    "Layout",
    "Lazy",
    "Pipeline",
    "Stage",
    "Update",
    "VectorSpec",
    "Weigh",
    "Weights",
    "chain",
    "check_whole",
]
