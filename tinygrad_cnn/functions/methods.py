"""The public functions as methods of `Tensor`."""

# Written by docs/make_exports.py. To add a name, see `export` beside its function.

from tinygrad_cnn import functions as f
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.functions.inplace import in_place, view_in_place


class Methods(Variable):
    """Every function of one tensor and more."""

    __slots__ = ()

    abs = absolute = f.abs
    acos = arccos = f.acos
    acosh = arccosh = f.acosh
    add = f.add
    addbmm = f.addbmm
    addcdiv = f.addcdiv
    addcmul = f.addcmul
    addmm = f.addmm
    addmv = f.addmv
    addr = f.addr
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
    as_strided = f.as_strided
    as_strided_scatter = f.as_strided_scatter
    asin = arcsin = f.asin
    asinh = arcsinh = f.asinh
    atan = arctan = f.atan
    atan2 = arctan2 = f.atan2
    atanh = arctanh = f.atanh
    baddbmm = f.baddbmm
    bernoulli = f.bernoulli
    bincount = f.bincount
    bitwise_and = f.bitwise_and
    bitwise_left_shift = f.bitwise_left_shift
    bitwise_not = f.bitwise_not
    bitwise_or = f.bitwise_or
    bitwise_right_shift = f.bitwise_right_shift
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
    combinations = f.combinations
    conj = f.conj
    conj_physical = f.conj_physical
    copysign = f.copysign
    corrcoef = f.corrcoef
    cos = f.cos
    cosh = f.cosh
    count_nonzero = f.count_nonzero
    cov = f.cov
    cross = f.cross
    cummax = f.cummax
    cummin = f.cummin
    cumprod = f.cumprod
    cumsum = f.cumsum
    deg2rad = f.deg2rad
    det = f.det
    diag = f.diag
    diag_embed = f.diag_embed
    diagflat = f.diagflat
    diagonal = f.diagonal
    diagonal_scatter = f.diagonal_scatter
    diff = f.diff
    digamma = f.digamma
    dist = f.dist
    div = divide = true_divide = f.div
    dot = f.dot
    dsplit = f.dsplit
    eq = f.eq
    equal = f.equal
    erf = f.erf
    erfc = f.erfc
    erfinv = f.erfinv
    exp = f.exp
    exp2 = f.exp2
    expand = f.expand
    expand_as = f.expand_as
    expm1 = f.expm1
    fill = f.fill
    flatten = f.flatten
    flip = f.flip
    fliplr = f.fliplr
    flipud = f.flipud
    float_power = f.float_power
    floor = f.floor
    floor_divide = f.floor_divide
    fmax = f.fmax
    fmin = f.fmin
    fmod = f.fmod
    frac = f.frac
    frexp = f.frexp
    gather = f.gather
    gcd = f.gcd
    ge = greater_equal = f.ge
    geqrf = f.geqrf
    gt = greater = f.gt
    hardshrink = f.hardshrink
    heaviside = f.heaviside
    histc = f.histc
    histogram = f.histogram
    hsplit = f.hsplit
    hypot = f.hypot
    i0 = f.i0
    igamma = f.igamma
    igammac = f.igammac
    index_add = f.index_add
    index_copy = f.index_copy
    index_fill = f.index_fill
    index_put = f.index_put
    index_reduce = f.index_reduce
    index_select = f.index_select
    inner = f.inner
    inverse = f.inverse
    is_conj = f.is_conj
    is_neg = f.is_neg
    isclose = f.isclose
    isfinite = f.isfinite
    isinf = f.isinf
    isnan = f.isnan
    isneginf = f.isneginf
    isposinf = f.isposinf
    isreal = f.isreal
    istft = f.istft
    kron = f.kron
    kthvalue = f.kthvalue
    lcm = f.lcm
    ldexp = f.ldexp
    le = less_equal = f.le
    lerp = f.lerp
    lgamma = f.lgamma
    log = f.log
    log10 = f.log10
    log1p = f.log1p
    log2 = f.log2
    log_softmax = f.log_softmax
    logaddexp = f.logaddexp
    logaddexp2 = f.logaddexp2
    logcumsumexp = f.logcumsumexp
    logdet = f.logdet
    logical_and = f.logical_and
    logical_not = f.logical_not
    logical_or = f.logical_or
    logical_xor = f.logical_xor
    logit = f.logit
    logsumexp = f.logsumexp
    lt = less = f.lt
    lu = f.lu
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
    mode = f.mode
    movedim = moveaxis = f.movedim
    msort = f.msort
    mul = multiply = f.mul
    multinomial = f.multinomial
    mv = f.mv
    mvlgamma = f.mvlgamma
    nan_to_num = f.nan_to_num
    nanmean = f.nanmean
    nanmedian = f.nanmedian
    nanquantile = f.nanquantile
    nansum = f.nansum
    narrow = f.narrow
    narrow_copy = f.narrow_copy
    ne = not_equal = f.ne
    neg = negative = f.neg
    nextafter = f.nextafter
    nonzero = f.nonzero
    nonzero_static = f.nonzero_static
    norm = f.norm
    orgqr = f.orgqr
    ormqr = f.ormqr
    outer = ger = f.outer
    permute = f.permute
    pinverse = f.pinverse
    polygamma = f.polygamma
    positive = f.positive
    pow = f.pow
    prelu = f.prelu
    prod = f.prod
    put = f.put
    qr = f.qr
    quantile = f.quantile
    rad2deg = f.rad2deg
    ravel = f.ravel
    reciprocal = f.reciprocal
    relu = f.relu
    remainder = f.remainder
    renorm = f.renorm
    repeat = f.repeat
    repeat_interleave = f.repeat_interleave
    reshape = f.reshape
    reshape_as = f.reshape_as
    resize_as_ = f.resize_as_
    resolve_conj = f.resolve_conj
    resolve_neg = f.resolve_neg
    roll = f.roll
    rot90 = f.rot90
    round = f.round
    rsqrt = f.rsqrt
    scatter = f.scatter
    scatter_add = f.scatter_add
    scatter_reduce = f.scatter_reduce
    select = f.select
    select_scatter = f.select_scatter
    sgn = f.sgn
    sigmoid = f.sigmoid
    sign = f.sign
    signbit = f.signbit
    sin = f.sin
    sinc = f.sinc
    sinh = f.sinh
    slice_scatter = f.slice_scatter
    slogdet = f.slogdet
    softmax = f.softmax
    sort = f.sort
    split = f.split
    split_with_sizes = f.split_with_sizes
    sqrt = f.sqrt
    square = f.square
    squeeze = f.squeeze
    std = f.std
    stft = f.stft
    sub = subtract = f.sub
    sum = f.sum
    sum_to_size = f.sum_to_size
    svd = f.svd
    swapaxes = swapdims = f.swapaxes
    t = f.t
    take = f.take
    take_along_dim = f.take_along_dim
    tan = f.tan
    tanh = f.tanh
    tensor_split = f.tensor_split
    tensordot = f.tensordot
    tile = f.tile
    topk = f.topk
    trace = f.trace
    transpose = f.transpose
    triangular_solve = f.triangular_solve
    tril = f.tril
    triu = f.triu
    trunc = fix = f.trunc
    unbind = f.unbind
    unflatten = f.unflatten
    unfold = f.unfold_axis
    unique = f.unique
    unique_consecutive = f.unique_consecutive
    unsafe_chunk = f.unsafe_chunk
    unsafe_split = f.unsafe_split
    unsafe_split_with_sizes = f.unsafe_split_with_sizes
    unsqueeze = f.unsqueeze
    var = f.var
    vdot = f.vdot
    vsplit = f.vsplit
    xlogy = f.xlogy

    abs_ = absolute_ = in_place(f.abs)
    acos_ = arccos_ = in_place(f.acos)
    acosh_ = arccosh_ = in_place(f.acosh)
    addbmm_ = in_place(f.addbmm)
    addcdiv_ = in_place(f.addcdiv)
    addcmul_ = in_place(f.addcmul)
    addmm_ = in_place(f.addmm)
    addmv_ = in_place(f.addmv)
    addr_ = in_place(f.addr)
    as_strided_ = view_in_place(f.as_strided)
    asin_ = arcsin_ = in_place(f.asin)
    asinh_ = arcsinh_ = in_place(f.asinh)
    atan_ = arctan_ = in_place(f.atan)
    atan2_ = arctan2_ = in_place(f.atan2)
    atanh_ = arctanh_ = in_place(f.atanh)
    baddbmm_ = in_place(f.baddbmm)
    bitwise_and_ = in_place(f.bitwise_and)
    bitwise_left_shift_ = in_place(f.bitwise_left_shift)
    bitwise_not_ = in_place(f.bitwise_not)
    bitwise_or_ = in_place(f.bitwise_or)
    bitwise_right_shift_ = in_place(f.bitwise_right_shift)
    bitwise_xor_ = in_place(f.bitwise_xor)
    ceil_ = in_place(f.ceil)
    clamp_ = clip_ = in_place(f.clamp)
    clamp_max_ = in_place(f.clamp_max)
    clamp_min_ = in_place(f.clamp_min)
    conj_physical_ = in_place(f.conj_physical)
    copysign_ = in_place(f.copysign)
    cos_ = in_place(f.cos)
    cosh_ = in_place(f.cosh)
    cumprod_ = in_place(f.cumprod)
    cumsum_ = in_place(f.cumsum)
    deg2rad_ = in_place(f.deg2rad)
    digamma_ = in_place(f.digamma)
    div_ = divide_ = true_divide_ = in_place(f.div)
    eq_ = in_place(f.eq)
    erf_ = in_place(f.erf)
    erfc_ = in_place(f.erfc)
    erfinv_ = in_place(f.erfinv)
    exp_ = in_place(f.exp)
    exp2_ = in_place(f.exp2)
    expm1_ = in_place(f.expm1)
    float_power_ = in_place(f.float_power)
    floor_ = in_place(f.floor)
    floor_divide_ = in_place(f.floor_divide)
    fmod_ = in_place(f.fmod)
    frac_ = in_place(f.frac)
    gcd_ = in_place(f.gcd)
    ge_ = greater_equal_ = in_place(f.ge)
    gt_ = greater_ = in_place(f.gt)
    heaviside_ = in_place(f.heaviside)
    hypot_ = in_place(f.hypot)
    i0_ = in_place(f.i0)
    igamma_ = in_place(f.igamma)
    igammac_ = in_place(f.igammac)
    index_add_ = in_place(f.index_add)
    index_copy_ = in_place(f.index_copy)
    index_fill_ = in_place(f.index_fill)
    index_put_ = in_place(f.index_put)
    index_reduce_ = in_place(f.index_reduce)
    lcm_ = in_place(f.lcm)
    ldexp_ = in_place(f.ldexp)
    le_ = less_equal_ = in_place(f.le)
    lerp_ = in_place(f.lerp)
    lgamma_ = in_place(f.lgamma)
    log_ = in_place(f.log)
    log10_ = in_place(f.log10)
    log1p_ = in_place(f.log1p)
    log2_ = in_place(f.log2)
    logical_and_ = in_place(f.logical_and)
    logical_not_ = in_place(f.logical_not)
    logical_or_ = in_place(f.logical_or)
    logical_xor_ = in_place(f.logical_xor)
    logit_ = in_place(f.logit)
    lt_ = less_ = in_place(f.lt)
    masked_fill_ = in_place(f.masked_fill)
    masked_scatter_ = in_place(f.masked_scatter)
    mul_ = multiply_ = in_place(f.mul)
    mvlgamma_ = in_place(f.mvlgamma)
    nan_to_num_ = in_place(f.nan_to_num)
    ne_ = not_equal_ = in_place(f.ne)
    neg_ = negative_ = in_place(f.neg)
    nextafter_ = in_place(f.nextafter)
    normal_ = in_place(f.normal)
    polygamma_ = in_place(f.polygamma)
    pow_ = in_place(f.pow)
    put_ = in_place(f.put)
    rad2deg_ = in_place(f.rad2deg)
    reciprocal_ = in_place(f.reciprocal)
    relu_ = in_place(f.relu)
    remainder_ = in_place(f.remainder)
    renorm_ = in_place(f.renorm)
    round_ = in_place(f.round)
    rsqrt_ = in_place(f.rsqrt)
    scatter_ = in_place(f.scatter)
    scatter_add_ = in_place(f.scatter_add)
    scatter_reduce_ = in_place(f.scatter_reduce)
    sgn_ = in_place(f.sgn)
    sigmoid_ = in_place(f.sigmoid)
    sign_ = in_place(f.sign)
    sin_ = in_place(f.sin)
    sinc_ = in_place(f.sinc)
    sinh_ = in_place(f.sinh)
    sqrt_ = in_place(f.sqrt)
    square_ = in_place(f.square)
    squeeze_ = view_in_place(f.squeeze)
    sub_ = subtract_ = in_place(f.sub)
    swapaxes_ = swapdims_ = view_in_place(f.swapaxes)
    t_ = view_in_place(f.t)
    tan_ = in_place(f.tan)
    tanh_ = in_place(f.tanh)
    transpose_ = view_in_place(f.transpose)
    tril_ = in_place(f.tril)
    triu_ = in_place(f.triu)
    trunc_ = fix_ = in_place(f.trunc)
    unsqueeze_ = view_in_place(f.unsqueeze)
    xlogy_ = in_place(f.xlogy)
