"""PyTorch 2.13's public names that are not here; written by `docs/make_missing.py`."""

TENSOR_NAMES = """
ccol_indices chalf coalesce col_indices crow_indices dense_dim dequantize eig grad_dtype
hash_tensor index indices int_repr ipu is_coalesced is_distributed is_ipu is_maia is_mtia layout
lstsq module_load mtia pin_memory q_per_channel_axis q_per_channel_scales q_per_channel_zero_points
q_scale q_zero_point qscheme record_stream reinforce resize resize_as resize_as_sparse_ row_indices
share_memory_ slice_inverse smm solve sparse_dim sparse_mask sparse_resize_
sparse_resize_and_clear_ sspaddmm storage_type symeig to_dense to_mkldnn to_padded_tensor to_sparse
to_sparse_bsc to_sparse_bsr to_sparse_coo to_sparse_csc to_sparse_csr values volatile xpu
"""

MODULE_NAMES = {
    "": """
AVG AcceleratorError AggregationType AliasDb AnyType Argument ArgumentSpec AwaitType
BenchmarkConfig BenchmarkExecutionStats Block BoolStorage BoolType BufferDict ByteStorage CallStack
Capsule CharStorage ClassType Code CompilationUnit CompleteArgumentSpec ComplexType
ConcreteModuleType ConcreteModuleTypeBuilder DeepCopyMemoTable DeserializationStorageContext
DeviceObjType DictType DisableTorchFunction DisableTorchFunctionSubclass DispatchKey DispatchKeySet
DoubleStorage EnumType ErrorReport Event ExcludeDispatchKeyGuard ExecutionPlan FatalError FileCheck
FloatStorage FloatType FunctionSchema Future FutureType Gradient Graph GraphExecutorState
IODescriptor InferredType IntStorage IntType InterfaceType JITException ListType LiteScriptModule
LockingLogger LongStorage ModuleDict Node NoneType NoopLogger NumberType OperatorInfo OptionalType
OutOfMemoryError ParameterDict PyObjectType PyTorchFileReader PyTorchFileWriter RRefType SUM
ScriptClass ScriptClassFunction ScriptDict ScriptDictIterator ScriptDictKeyIterator ScriptFunction
ScriptList ScriptListIterator ScriptMethod ScriptModule ScriptModuleSerializer ScriptObject
ScriptObjectProperty SerializationStorageContext ShortStorage StaticModule Stream StreamObjType
StringType SymBool SymBoolType SymFloat SymInt SymIntType Tag TensorType ThroughputBenchmark
TracingState TupleType Type TypedStorage UnionType UntypedStorage Use Value affine_grid_generator
alpha_dropout_ ao autocast_decrement_nesting autocast_increment_nesting batch_norm_backward_elemt
batch_norm_backward_reduce batch_norm_elemt batch_norm_gather_stats
batch_norm_gather_stats_with_counts batch_norm_stats batch_norm_update_stats binomial bit bits16
bits1x8 bits2x4 bits4x2 bits8 ccol_indices_copy chalf choose_qparams_optimized classes
col_indices_copy compiler complex32 cond conv_tbc convolution cpp crow_indices_copy
cudnn_affine_grid_generator cudnn_batch_norm cudnn_convolution cudnn_convolution_add_relu
cudnn_convolution_relu cudnn_convolution_transpose cudnn_grid_sampler cudnn_is_acceptable
dequantize detach detach_copy dropout_ dsmm dtype embedding embedding_bag embedding_renorm_
empty_quantized export fake_quantize_per_channel_affine fake_quantize_per_tensor_affine
fbgemm_linear_fp16_weight fbgemm_linear_fp16_weight_fp32_activation fbgemm_linear_int8_weight
fbgemm_linear_int8_weight_fp32_activation fbgemm_linear_quantize_weight
fbgemm_pack_gemm_matrix_fp16 fbgemm_pack_quantized_matrix feature_alpha_dropout_ feature_dropout
feature_dropout_ float4_e2m1fn_x2 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz
float8_e8m0fnu fork frobenius_norm from_file functional fused_moving_avg_obs_fake_quant futures fx
get_autocast_gpu_dtype get_autocast_ipu_dtype get_autocast_xla_dtype get_deterministic_debug_mode
get_device get_device_module get_num_interop_threads grid_sampler gru gru_cell has_lapack has_mkl
has_openmp has_spectral hash_tensor histogramdd hsmm hspmm hub import_ir_module
import_ir_module_from_buffer indices_copy init_num_threads int1 int2 int3 int4 int5 int6 int7
int_repr is_autocast_cache_enabled is_autocast_ipu_enabled is_autocast_xla_enabled is_distributed
is_inference is_nonzero is_same_size is_signed is_storage is_vulkan_available
is_warn_always_enabled kl_div layout library lobpcg lstm lstm_cell max_pool1d_with_indices
merge_type_from_type_comment miopen_batch_norm miopen_convolution miopen_convolution_add_relu
miopen_convolution_relu miopen_convolution_transpose miopen_ctc_loss miopen_depthwise_convolution
miopen_rnn mkldnn_adaptive_avg_pool2d mkldnn_convolution mkldnn_linear_backward_weights
mkldnn_max_pool2d mkldnn_max_pool3d mkldnn_rnn_layer monitor mps mtia multiprocessing
native_channel_shuffle native_dropout native_norm nested norm_except_dim nuclear_norm overrides
package parse_ir parse_schema parse_type_comment poisson poisson_nll_loss q_per_channel_axis
q_per_channel_scales q_per_channel_zero_points q_scale q_zero_point qint32 qint8 qscheme
quantization quantize_per_channel quantize_per_tensor quantize_per_tensor_dynamic
quantized_batch_norm quantized_gru_cell quantized_lstm_cell quantized_max_pool1d
quantized_max_pool2d quantized_max_pool3d quantized_rnn_relu_cell quantized_rnn_tanh_cell
quasirandom quint2x4 quint4x2 quint8 range resize_as_sparse_ return_types rnn_relu rnn_relu_cell
rnn_tanh rnn_tanh_cell row_indices_copy saddmm set_anomaly_enabled set_autocast_cache_enabled
set_autocast_cpu_dtype set_autocast_cpu_enabled set_autocast_gpu_dtype set_autocast_ipu_dtype
set_autocast_ipu_enabled set_autocast_xla_dtype set_autocast_xla_enabled set_default_tensor_type
set_deterministic_debug_mode set_flush_denormal set_num_interop_threads set_warn_always slice_copy
slice_inverse smm sparse sparse_bsc_tensor sparse_bsr_tensor sparse_compressed_tensor
sparse_coo_tensor sparse_csc_tensor sparse_csr_tensor spmm sspaddmm storage sym_constrain_range
sym_constrain_range_for_size sym_float sym_fresh_size sym_int sym_ite sym_max sym_min sym_not
sym_sqrt sym_sum thread_safe_generator torch_version typename uint1 uint2 uint3 uint4 uint5 uint6
uint7 unify_type_list values_copy view_as_complex_copy view_as_real_copy wait xpu
""",
    "nn": """
Container DataParallel LinearCrossEntropyOptions common_types factory_kwargs grad intrinsic qat
quantizable quantized
""",
    "nn.functional": """
BroadcastingList1 BroadcastingList2 BroadcastingList3 GRID_SAMPLE_INTERPOLATION_MODES
GRID_SAMPLE_PADDING_MODES ScalingType SwizzleType TYPE_CHECKING Tensor
adaptive_max_pool1d_with_indices adaptive_max_pool2d_with_indices adaptive_max_pool3d_with_indices
assert_int_or_pair boolean_dispatch conv_tbc fractional_max_pool2d_with_indices
fractional_max_pool3d_with_indices grouped_mm handle_torch_function has_torch_function
has_torch_function_unary has_torch_function_variadic max_pool1d_with_indices
max_pool2d_with_indices max_pool3d_with_indices native_channel_shuffle reproducibility_notes
scaled_grouped_mm scaled_mm sparse_support_notes tf32_notes
""",
    "nn.utils": """
clip_grad clip_grad_norm convert_conv2d_weight_memory_format convert_conv3d_weight_memory_format
convert_parameters init memory_format
""",
    "optim": """
SparseAdam swap_in_optimizer_params_and_state
""",
    "linalg": """
common_notes
""",
    "fft": """
Tensor
""",
    "func": """
debug_unwrap functionalize rearrange replace_all_batch_norm_modules_
""",
    "autograd": """
NestedIOFunction anomaly_mode enforce_grad_layout_policy forward_ad profiler_legacy profiler_util
set_multithreading_enabled
""",
    "utils": """
ThroughputBenchmark backcompat backend_registration cmake_prefix_path collect_env cpp_backtrace
deterministic generate_methods_for_privateuse1_backend get_cpp_backtrace hooks
rename_privateuse1_backend set_module swap_tensors throughput_benchmark weak
""",
    "utils.data": """
DFIterDataPipe DataChunk IterDataPipe MapDataPipe argument_validation datapipes functional_datapipe
graph graph_settings guaranteed_datapipes_determinism non_deterministic runtime_validation
runtime_validation_disabled
""",
    "distributions": """
AbsTransform AffineTransform Beta Binomial CatTransform Cauchy Chi2 ComposeTransform
ContinuousBernoulli CorrCholeskyTransform CumulativeDistributionTransform Dirichlet ExpTransform
ExponentialFamily FisherSnedecor Gamma GeneralizedPareto Geometric Gumbel HalfCauchy HalfNormal
IndependentTransform InverseGamma Kumaraswamy LKJCholesky LogNormal LogisticNormal
LowRankMultivariateNormal LowerCholeskyTransform MixtureSameFamily Multinomial MultivariateNormal
NegativeBinomial OneHotCategorical OneHotCategoricalStraightThrough Pareto Poisson
PositiveDefiniteTransform PowerTransform RelaxedBernoulli RelaxedOneHotCategorical ReshapeTransform
SigmoidTransform SoftmaxTransform SoftplusTransform StackTransform StickBreakingTransform StudentT
TanhTransform Transform TransformedDistribution VonMises Weibull Wishart bernoulli beta biject_to
binomial categorical cauchy chi2 constraint_registry continuous_bernoulli dirichlet exp_family
exponential fishersnedecor gamma generalized_pareto geometric gumbel half_cauchy half_normal
identity_transform independent inverse_gamma kumaraswamy laplace lkj_cholesky log_normal
logistic_normal lowrank_multivariate_normal mixture_same_family multinomial multivariate_normal
negative_binomial normal one_hot_categorical pareto poisson relaxed_bernoulli relaxed_categorical
studentT transform_to transformed_distribution transforms uniform utils von_mises weibull wishart
""",
    "signal.windows": """
windows
""",
    "masked": """
MaskedTensor as_masked_tensor is_masked_tensor masked_tensor maskedtensor
""",
    "random": """
thread_safe_generator
""",
    "backends": """
cpu cusparselt kleidiai mha miopen mkl mkldnn nnpack openmp opt_einsum python_native quantized
""",
    "profiler": """
DeviceType ExecutionTraceObserver itt kineto_available profiler supported_activities
tensorboard_trace_handler
""",
    "jit": """
Attribute CompilationUnit Error Future ScriptFunction ScriptModule annotate enable_onednn_fusion
export_opnames fork freeze frontend interface isinstance load onednn_fusion_enabled
optimize_for_inference save script_if_tracing set_fusion_strategy strict_fusion trace_module wait
""",
}
