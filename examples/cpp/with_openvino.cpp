// A published model on OpenVINO: model.onnx and model_gradient.onnx, read as they are.
//
// Three things to know. OpenVINO computes in bfloat16 where the processor can, and is then wrong by tenths of a nat:
// ask for f32. It has no double precision, so logpdf has seven digits; for differences of large numbers take another
// runtime. And up to 2026.4 its CPU plugin keeps one packed copy of a constant that two layers share, though one of
// them reads it transposed, and square layers then give wrong gradients: `unshare` makes copies.
#include <openvino/op/constant.hpp>
#include <openvino/op/matmul.hpp>
#include <openvino/openvino.hpp>

#include "published.hpp"

namespace {

void unshare(const std::shared_ptr<ov::Model>& model) {
    for (const auto& node : model->get_ops()) {
        const auto product = ov::as_type_ptr<ov::op::v0::MatMul>(node);
        if (!product || !product->get_transpose_b()) continue;
        const auto weights = ov::as_type_ptr<ov::op::v0::Constant>(product->get_input_node_shared_ptr(1));
        if (!weights) continue;
        const auto copy = std::make_shared<ov::op::v0::Constant>(weights->get_element_type(), weights->get_shape(),
                                                                 weights->get_data_ptr());
        product->input(1).replace_source_output(copy);
    }
}

std::vector<double> as_doubles(const ov::Tensor& tensor) {
    if (tensor.get_element_type() == ov::element::boolean) {
        const char* data = tensor.data<char>();
        return std::vector<double>(data, data + tensor.get_size());
    }
    const double* data = tensor.data<double>();
    return std::vector<double>(data, data + tensor.get_size());
}

published::Model load(ov::Core& core, const std::string& path) {
    const auto graph = core.read_model(path);
    unshare(graph);
    auto model = core.compile_model(graph, "CPU", ov::hint::inference_precision(ov::element::f32),
                                    ov::inference_num_threads(1));
    auto request = model.create_infer_request();
    return [model, request](const std::vector<double>& theta, std::size_t rows) mutable {
        request.set_tensor("theta", ov::Tensor(ov::element::f64, {rows, theta.size() / rows},
                                               const_cast<double*>(theta.data())));
        request.infer();
        std::map<std::string, std::vector<double>> answers;
        for (const auto& output : model.outputs())
            answers[output.get_any_name()] = as_doubles(request.get_tensor(output));
        return answers;
    };
}

}  // namespace

int main(int argc, char** argv) {
    return published::guarded(argc, argv, [](const std::string& folder) {
        ov::Core core;
        const auto values = load(core, folder + "/model.onnx");
        const auto gradient = load(core, folder + "/model_gradient.onnx");
        return published::check(folder, "openvino", values, gradient, /*single=*/true);
    });
}
