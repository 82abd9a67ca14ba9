// A published model on OpenVINO: model.onnx and model_gradient.onnx, read as they are.
//
// Two things to know. OpenVINO computes in bfloat16 where the processor can, and is then wrong by tenths of a nat: ask
// for f32. It has no double precision, so logpdf has seven digits; for differences of large numbers take another
// runtime.
#include <openvino/openvino.hpp>

#include "published.hpp"

namespace {

std::vector<double> as_doubles(const ov::Tensor& tensor) {
    if (tensor.get_element_type() == ov::element::boolean) {
        const char* data = tensor.data<char>();
        return std::vector<double>(data, data + tensor.get_size());
    }
    const double* data = tensor.data<double>();
    return std::vector<double>(data, data + tensor.get_size());
}

published::Model load(ov::Core& core, const std::string& path) {
    auto model = core.compile_model(path, "CPU", ov::hint::inference_precision(ov::element::f32),
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
