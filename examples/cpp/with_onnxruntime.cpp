// A published model on ONNX Runtime, by its C interface: the one that stays the same from release to release.
#include <onnxruntime_c_api.h>

#include "published.hpp"

namespace {

// The table of functions of API version 7 (2021), which every later release serves.
const OrtApi& ort() {
    static const OrtApi* api = OrtGetApiBase()->GetApi(7);
    return *api;
}

void check(OrtStatus* status) {
    if (!status) return;
    const std::string message = ort().GetErrorMessage(status);
    ort().ReleaseStatus(status);
    throw std::runtime_error(message);
}

published::Model load(OrtEnv* env, const std::string& path, const std::vector<const char*>& names) {
    OrtSessionOptions* options = nullptr;
    OrtSession* session = nullptr;
    OrtMemoryInfo* memory = nullptr;
    check(ort().CreateSessionOptions(&options));
    check(ort().SetIntraOpNumThreads(options, 1));
    check(ort().CreateSession(env, path.c_str(), options, &session));
    ort().ReleaseSessionOptions(options);
    check(ort().CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
    return [=](const std::vector<double>& theta, std::size_t rows) {
        const std::int64_t shape[] = {std::int64_t(rows), std::int64_t(theta.size() / rows)};
        const char* input = "theta";
        OrtValue* points = nullptr;
        check(ort().CreateTensorWithDataAsOrtValue(memory, const_cast<double*>(theta.data()),
                                                   theta.size() * sizeof(double), shape, 2,
                                                   ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE, &points));
        std::vector<OrtValue*> outputs(names.size(), nullptr);
        check(ort().Run(session, nullptr, &input, &points, 1, names.data(), names.size(), outputs.data()));
        ort().ReleaseValue(points);
        std::map<std::string, std::vector<double>> answers;
        for (std::size_t i = 0; i < names.size(); ++i) {
            OrtTensorTypeAndShapeInfo* info = nullptr;
            std::size_t size = 0;
            void* data = nullptr;
            check(ort().GetTensorTypeAndShape(outputs[i], &info));
            check(ort().GetTensorShapeElementCount(info, &size));
            ort().ReleaseTensorTypeAndShapeInfo(info);
            check(ort().GetTensorMutableData(outputs[i], &data));
            std::vector<double>& answer = answers[names[i]];
            if (std::string(names[i]) == "in_domain")
                answer.assign(static_cast<bool*>(data), static_cast<bool*>(data) + size);
            else
                answer.assign(static_cast<double*>(data), static_cast<double*>(data) + size);
            ort().ReleaseValue(outputs[i]);
        }
        return answers;
    };
}

}  // namespace

int main(int argc, char** argv) {
    return published::guarded(argc, argv, [](const std::string& folder) {
        OrtEnv* env = nullptr;
        check(ort().CreateEnv(ORT_LOGGING_LEVEL_WARNING, "published", &env));
        const auto values = load(env, folder + "/model.onnx", {"logpdf", "error", "in_domain"});
        const auto gradient =
            load(env, folder + "/model_gradient.onnx", {"logpdf", "error", "in_domain", "gradient"});
        return published::check(folder, "onnxruntime", values, gradient);
    });
}
