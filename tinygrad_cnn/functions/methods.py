"""The public functions as methods of `Tensor`."""

# Written by docs/make_exports.py. To add a name, see `export` beside its function.

from tinygrad_cnn import functions as f
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.functions.inplace import in_place


class Methods(Variable):
    """Every function of one tensor and more."""

    __slots__ = ()

    abs = absolute = f.abs
    acos = arccos = f.acos
    add = f.add
    addcdiv = f.addcdiv
    addcmul = f.addcmul
    addmm = f.addmm
    adjoint = f.adjoint
    all = f.all
    allclose = f.allclose
    amax = f.amax
    amin = f.amin
    aminmax = f.aminmax
    angle = f.angle
    any = f.any
    argmax = f.argmax
    argmin = f.argmin
    argsort = f.argsort
    argwhere = f.argwhere
    asin = arcsin = f.asin
    atan = arctan = f.atan
    atan2 = f.atan2
    bernoulli = f.bernoulli
    bincount = f.bincount
    bitwise_and = f.bitwise_and
    bitwise_not = f.bitwise_not
    bitwise_or = f.bitwise_or
    bitwise_xor = f.bitwise_xor
    bmm = f.bmm
    broadcast_to = f.broadcast_to
    ceil = f.ceil
    cholesky = f.cholesky
    cholesky_inverse = f.cholesky_inverse
    cholesky_solve = f.cholesky_solve
    chunk = f.chunk
    clamp = clip = f.clamp
    clamp_max = f.clamp_max
    clamp_min = f.clamp_min
    clone = f.clone
    conj = f.conj
    conj_physical = f.conj_physical
    cos = f.cos
    cosh = f.cosh
    count_nonzero = f.count_nonzero
    cross = f.cross
    cumprod = f.cumprod
    cumsum = f.cumsum
    det = f.det
    diag = f.diag
    diagonal = f.diagonal
    diff = f.diff
    div = divide = true_divide = f.div
    dot = f.dot
    eq = f.eq
    equal = f.equal
    erf = f.erf
    exp = f.exp
    exp2 = f.exp2
    expand = f.expand
    expand_as = f.expand_as
    expm1 = f.expm1
    flatten = f.flatten
    flip = f.flip
    floor = f.floor
    floor_divide = f.floor_divide
    fmod = f.fmod
    frac = f.frac
    gather = f.gather
    ge = f.ge
    gt = f.gt
    index_add = f.index_add
    index_copy = f.index_copy
    index_fill = f.index_fill
    index_put = f.index_put
    index_select = f.index_select
    inverse = f.inverse
    is_conj = f.is_conj
    isclose = f.isclose
    isfinite = f.isfinite
    isinf = f.isinf
    isnan = f.isnan
    isreal = f.isreal
    le = f.le
    lerp = f.lerp
    log = f.log
    log10 = f.log10
    log1p = f.log1p
    log2 = f.log2
    log_softmax = f.log_softmax
    logaddexp = f.logaddexp
    logdet = f.logdet
    logical_and = f.logical_and
    logical_not = f.logical_not
    logical_or = f.logical_or
    logical_xor = f.logical_xor
    logsumexp = f.logsumexp
    lt = f.lt
    lu_solve = f.lu_solve
    masked_fill = f.masked_fill
    masked_scatter = f.masked_scatter
    masked_select = f.masked_select
    matmul = f.matmul
    matrix_exp = f.matrix_exp
    matrix_power = f.matrix_power
    max = f.max
    maximum = f.maximum
    mean = f.mean
    median = f.median
    min = f.min
    minimum = f.minimum
    mm = f.mm
    movedim = moveaxis = f.movedim
    mul = multiply = f.mul
    multinomial = f.multinomial
    mv = f.mv
    nan_to_num = f.nan_to_num
    nanmean = f.nanmean
    nansum = f.nansum
    narrow = f.narrow
    ne = f.ne
    neg = negative = f.neg
    nonzero = f.nonzero
    norm = f.norm
    orgqr = f.orgqr
    outer = f.outer
    permute = f.permute
    pinverse = f.pinverse
    pow = f.pow
    prod = f.prod
    qr = f.qr
    ravel = f.ravel
    reciprocal = f.reciprocal
    relu = f.relu
    remainder = f.remainder
    repeat = f.repeat
    repeat_interleave = f.repeat_interleave
    reshape = f.reshape
    reshape_as = f.reshape_as
    resolve_conj = f.resolve_conj
    resolve_neg = f.resolve_neg
    roll = f.roll
    round = f.round
    rsqrt = f.rsqrt
    scatter = f.scatter
    scatter_add = f.scatter_add
    select = f.select
    sgn = f.sgn
    sigmoid = f.sigmoid
    sign = f.sign
    sin = f.sin
    sinc = f.sinc
    sinh = f.sinh
    slogdet = f.slogdet
    softmax = f.softmax
    sort = f.sort
    split = f.split
    sqrt = f.sqrt
    square = f.square
    squeeze = f.squeeze
    std = f.std
    sub = subtract = f.sub
    sum = f.sum
    sum_to_size = f.sum_to_size
    svd = f.svd
    swapaxes = swapdims = f.swapaxes
    t = f.t
    take_along_dim = f.take_along_dim
    tan = f.tan
    tanh = f.tanh
    tensordot = f.tensordot
    tile = f.tile
    topk = f.topk
    transpose = f.transpose
    triangular_solve = f.triangular_solve
    tril = f.tril
    triu = f.triu
    trunc = f.trunc
    unbind = f.unbind
    unflatten = f.unflatten
    unique = f.unique
    unsqueeze = f.unsqueeze
    var = f.var

    abs_ = absolute_ = in_place(f.abs)
    ceil_ = in_place(f.ceil)
    clamp_ = clip_ = in_place(f.clamp)
    clamp_max_ = in_place(f.clamp_max)
    clamp_min_ = in_place(f.clamp_min)
    cos_ = in_place(f.cos)
    exp_ = in_place(f.exp)
    floor_ = in_place(f.floor)
    floor_divide_ = in_place(f.floor_divide)
    index_add_ = in_place(f.index_add)
    index_copy_ = in_place(f.index_copy)
    index_fill_ = in_place(f.index_fill)
    index_put_ = in_place(f.index_put)
    lerp_ = in_place(f.lerp)
    log_ = in_place(f.log)
    masked_fill_ = in_place(f.masked_fill)
    masked_scatter_ = in_place(f.masked_scatter)
    nan_to_num_ = in_place(f.nan_to_num)
    neg_ = negative_ = in_place(f.neg)
    normal_ = in_place(f.normal)
    pow_ = in_place(f.pow)
    reciprocal_ = in_place(f.reciprocal)
    relu_ = in_place(f.relu)
    remainder_ = in_place(f.remainder)
    round_ = in_place(f.round)
    rsqrt_ = in_place(f.rsqrt)
    scatter_ = in_place(f.scatter)
    scatter_add_ = in_place(f.scatter_add)
    sgn_ = in_place(f.sgn)
    sigmoid_ = in_place(f.sigmoid)
    sign_ = in_place(f.sign)
    sin_ = in_place(f.sin)
    sinc_ = in_place(f.sinc)
    sqrt_ = in_place(f.sqrt)
    square_ = in_place(f.square)
    tanh_ = in_place(f.tanh)
    trunc_ = in_place(f.trunc)
