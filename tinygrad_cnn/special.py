"""Special functions under the names of ``torch.special``.

>>> import tinygrad_cnn as tg
>>> tg.special.expit(tg.zeros(1))
tensor([0.5000])
"""

# fmt: off
# isort: off
from tinygrad_cnn.functions.with_out import (
    airy_ai, bessel_j0, bessel_j1, bessel_y0, bessel_y1, chebyshev_polynomial_t,
    chebyshev_polynomial_u, chebyshev_polynomial_v, chebyshev_polynomial_w, digamma, entr, erf,
    erfc, erfcx, erfinv, exp2, expm1, hermite_polynomial_h, hermite_polynomial_he, i0, i0e, i1, i1e,
    igamma, igammac, laguerre_polynomial_l, legendre_polynomial_p, lgamma, log1p, log_ndtr,
    log_softmax, logit, logsumexp, modified_bessel_i0, modified_bessel_i1, modified_bessel_k0,
    modified_bessel_k1, mvlgamma, ndtr, ndtri, polygamma, round, scaled_modified_bessel_k0,
    scaled_modified_bessel_k1, shifted_chebyshev_polynomial_t, shifted_chebyshev_polynomial_u,
    shifted_chebyshev_polynomial_v, shifted_chebyshev_polynomial_w, sigmoid, sinc, softmax,
    spherical_bessel_j0, xlog1py, xlogy, zeta,
)

expit, gammainc, gammaincc, gammaln = sigmoid, igamma, igammac, lgamma
multigammaln, psi = mvlgamma, digamma

__all__ = [
    "airy_ai", "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "chebyshev_polynomial_t",
    "chebyshev_polynomial_u", "chebyshev_polynomial_v", "chebyshev_polynomial_w", "digamma", "entr",
    "erf", "erfc", "erfcx", "erfinv", "exp2", "expit", "expm1", "gammainc", "gammaincc", "gammaln",
    "hermite_polynomial_h", "hermite_polynomial_he", "i0", "i0e", "i1", "i1e", "igamma", "igammac",
    "laguerre_polynomial_l", "legendre_polynomial_p", "lgamma", "log1p", "log_ndtr", "log_softmax",
    "logit", "logsumexp", "modified_bessel_i0", "modified_bessel_i1", "modified_bessel_k0",
    "modified_bessel_k1", "multigammaln", "mvlgamma", "ndtr", "ndtri", "polygamma", "psi", "round",
    "scaled_modified_bessel_k0", "scaled_modified_bessel_k1", "shifted_chebyshev_polynomial_t",
    "shifted_chebyshev_polynomial_u", "shifted_chebyshev_polynomial_v",
    "shifted_chebyshev_polynomial_w", "sigmoid", "sinc", "softmax", "spherical_bessel_j0",
    "xlog1py", "xlogy", "zeta",
]
