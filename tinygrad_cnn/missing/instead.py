"""What to use in place of names that are missing; the first pattern that fits a dotted name."""

SENTENCES: tuple[tuple[str, str], ...] = (
    (r"nn\.DataParallel$", "`nn.parallel.DistributedDataParallel` uses several processes"),
    (r"optim\.SparseAdam$", "gradients are dense: `optim.Adam`"),
    (
        r"Tensor\.(symeig|eig|lstsq|solve)$",
        "`linalg.eigh`, `linalg.lstsq`, `linalg.solve`",
    ),
    (r"Tensor\.resize(_as)?$", "`Tensor.resize_` and `Tensor.reshape`"),
    (r"Tensor\.(share_memory_|storage_type)$", "memory is NumPy's: `Tensor.untyped_storage`"),
    (r"Tensor\.layout$|layout$|strided$|_coo$|_cs[cr]$|_bs[cr]$", "tensors are dense here"),
    (r"Tensor\.(pin_memory|record_stream)$", "there is only the CPU"),
    (r"Tensor\.volatile$", "`no_grad` records nothing"),
    (r"Tensor\.reinforce$", "`distributions` have log_prob"),
    (
        r"sparse|coalesce|c?c(ol|row)_indices|crow|row_indices|smm|sspaddmm|to_dense|dense_dim"
        r"|Tensor\.(indices|values)$|(^|\.)(resize_as_sparse_)|hspmm|addmm_sparse",
        "there are no sparse tensors; dense ones have `gather`, `scatter_add` and `index_add`",
    ),
    (
        r"quant|q_(per|scale|zero)|qscheme|qint|quint|int_repr|fbgemm|per_(channel|tensor)|qat$"
        r"|choose_qparams|observer|intrinsic$|mm_int8|_affine$",
        "there are no quantised dtypes",
    ),
    (
        r"cudnn|miopen|mkldnn|onednn|cuda|xpu|mps|mtia|vulkan|ipu|maia|metal|kineto|kleidiai|openmp"
        r"|nnpack|backends\.\w+$",
        "there is only the CPU",
    ),
    (r"float8|float4|bits\d|complex32|chalf|^u?int[1-7]$", "NumPy has no such dtype"),
    (r"nested|to_padded_tensor|jagged", "there are no nested tensors: `nn.utils.rnn.pad_sequence`"),
    (r"masked\.", "`masked` has functions, not tensors, such as `masked.mean`"),
    (r"Storage$", "`Tensor.untyped_storage` gives the memory"),
    (
        r"^jit\.|Script|^export$|^fx$|^package$|[Tt]race(d|r)|^(Graph|Block|Node|Code)$|Type$",
        "nothing is compiled from source; `compile` records what a function does",
    ),
    (r"forward_ad|dual|NestedIO", "there is no forward mode; `func.jvp` does the same"),
    (
        r"^hub$|DataPipe|functional_datapipe",
        "`utils.data.Dataset` and its loader",
    ),
    (r"distributions\.\w*Transform", "`distributions` has no transforms"),
    (r"^Sym|^sym_", "shapes are numbers"),
    (r"_copy$", "`clone` copies what the function without _copy returns"),
    (r"_with_indices$", "the function without _with_indices takes return_indices=True"),
    (r"(lstm|gru|rnn\w*)(_cell)?$", "the modules `nn.LSTM`, `nn.GRU`, `nn.RNN` and their cells"),
)
