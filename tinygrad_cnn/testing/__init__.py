"""Property tests: strategies, gradient checks with verdicts, certificates, mutation of rules."""

from tinygrad_cnn.autograd.gradcheck.compare import Finding, GradientError, UndecidedError
from tinygrad_cnn.autograd.samples import ErrorSample, Sample
from tinygrad_cnn.testing.certify.certificate import Certificate, Certificates, Result
from tinygrad_cnn.testing.certify.certification import CHECK_NAMES, certify, certify_all
from tinygrad_cnn.testing.certify.layouts import LAYOUTS, laid_out
from tinygrad_cnn.testing.closeness import assert_close
from tinygrad_cnn.testing.draws import GeneratorDraw, HypothesisDraw
from tinygrad_cnn.testing.gradients import check_adjoint, check_gradients
from tinygrad_cnn.testing.mutation.run import Mutation, mutate

__all__ = [
    "CHECK_NAMES",
    "LAYOUTS",
    "Certificate",
    "Certificates",
    "ErrorSample",
    "Finding",
    "GeneratorDraw",
    "GradientError",
    "HypothesisDraw",
    "Mutation",
    "Result",
    "Sample",
    "UndecidedError",
    "assert_close",
    "certify",
    "certify_all",
    "check_adjoint",
    "check_gradients",
    "laid_out",
    "mutate",
]
