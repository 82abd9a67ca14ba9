// A published model on TensorFlow's C library: saved_model/1, loaded as TensorFlow Serving loads it.
//
// A signature names its tensors for people; the session wants the names they have in the graph. They stand in the
// MetaGraphDef, of which a few fields are read here (tensorflow/core/protobuf/meta_graph.proto).
#include <tensorflow/c/c_api.h>

#include <memory>

#include "published.hpp"

namespace {

// Fields of a protobuf message that hold bytes: number -> contents.
std::multimap<int, std::string> fields(const std::string& message) {
    std::multimap<int, std::string> found;
    std::size_t at = 0;
    const auto varint = [&] {
        std::uint64_t value = 0;
        for (int shift = 0;; shift += 7) {
            const unsigned char byte = message.at(at++);
            value |= std::uint64_t(byte & 0x7F) << shift;
            if (byte < 0x80) return value;
        }
    };
    while (at < message.size()) {
        const std::uint64_t key = varint();
        if ((key & 7) == 0) varint();
        else if ((key & 7) == 1) at += 8;
        else if ((key & 7) == 5) at += 4;
        else {
            const std::uint64_t length = varint();
            found.emplace(int(key >> 3), message.substr(at, length));
            at += length;
        }
    }
    return found;
}

std::string field(const std::string& message, int number) {
    const auto all = fields(message);
    const auto found = all.find(number);
    return found == all.end() ? std::string() : found->second;
}

// A map<string, Message> field, as name -> message.
std::map<std::string, std::string> entries(const std::string& message, int number) {
    std::map<std::string, std::string> found;
    const auto all = fields(message);
    for (auto [entry, end] = all.equal_range(number); entry != end; ++entry)
        found[field(entry->second, 1)] = field(entry->second, 2);
    return found;
}

struct Status {
    std::unique_ptr<TF_Status, decltype(&TF_DeleteStatus)> status{TF_NewStatus(), TF_DeleteStatus};
    operator TF_Status*() const { return status.get(); }
    void check() const {
        if (TF_GetCode(*this) != TF_OK) throw std::runtime_error(TF_Message(*this));
    }
};

class SavedModel {
public:
    explicit SavedModel(const std::string& folder) : graph_(TF_NewGraph()) {
        const char* tags[] = {"serve"};
        TF_SessionOptions* options = TF_NewSessionOptions();
        // ConfigProto: intra_op_parallelism_threads (2) = 1, inter_op_parallelism_threads (5) = 1
        const std::uint8_t one_thread[] = {0x10, 1, 0x28, 1};
        Status status;
        TF_SetConfig(options, one_thread, sizeof one_thread, status);
        status.check();
        TF_Buffer* meta = TF_NewBuffer();
        session_ = TF_LoadSessionFromSavedModel(options, nullptr, folder.c_str(), tags, 1, graph_, meta, status);
        status.check();
        signatures_ = entries(std::string(static_cast<const char*>(meta->data), meta->length), 5);
        TF_DeleteBuffer(meta);
        TF_DeleteSessionOptions(options);
    }

    // theta -> the outputs of one signature.
    published::Model signature(const std::string& name) {
        const std::string definition = signatures_.at(name);
        const TF_Output input = tensor(entries(definition, 1).at("theta"));
        std::vector<std::string> names;
        std::vector<TF_Output> outputs;
        for (const auto& [output, info] : entries(definition, 2)) {
            names.push_back(output);
            outputs.push_back(tensor(info));
        }
        return [=](const std::vector<double>& theta, std::size_t rows) { return run(input, names, outputs, theta, rows); };
    }

private:
    // TensorInfo.name is "operation:index".
    TF_Output tensor(const std::string& info) const {
        const std::string name = field(info, 1);
        const std::size_t colon = name.rfind(':');
        TF_Operation* operation = TF_GraphOperationByName(graph_, name.substr(0, colon).c_str());
        if (!operation) throw std::runtime_error("the graph has no " + name);
        return {operation, std::stoi(name.substr(colon + 1))};
    }

    std::map<std::string, std::vector<double>> run(TF_Output input, const std::vector<std::string>& names,
                                                   const std::vector<TF_Output>& outputs,
                                                   const std::vector<double>& theta, std::size_t rows) const {
        const std::int64_t shape[] = {std::int64_t(rows), std::int64_t(theta.size() / rows)};
        TF_Tensor* points = TF_AllocateTensor(TF_DOUBLE, shape, 2, theta.size() * sizeof(double));
        std::memcpy(TF_TensorData(points), theta.data(), theta.size() * sizeof(double));
        std::vector<TF_Tensor*> tensors(outputs.size());
        Status status;
        TF_SessionRun(session_, nullptr, &input, &points, 1, outputs.data(), tensors.data(), int(outputs.size()),
                      nullptr, 0, nullptr, status);
        TF_DeleteTensor(points);
        status.check();
        std::map<std::string, std::vector<double>> answers;
        for (std::size_t i = 0; i < names.size(); ++i) {
            const std::size_t size = TF_TensorElementCount(tensors[i]);
            std::vector<double>& answer = answers[names[i]];
            if (TF_TensorType(tensors[i]) == TF_BOOL) {
                const auto* data = static_cast<const bool*>(TF_TensorData(tensors[i]));
                answer.assign(data, data + size);
            } else {
                const auto* data = static_cast<const double*>(TF_TensorData(tensors[i]));
                answer.assign(data, data + size);
            }
            TF_DeleteTensor(tensors[i]);
        }
        return answers;
    }

    TF_Graph* graph_;
    TF_Session* session_ = nullptr;
    std::map<std::string, std::string> signatures_;
};

}  // namespace

int main(int argc, char** argv) {
    return published::guarded(argc, argv, [](const std::string& folder) {
        SavedModel model(folder + "/saved_model/1");
        const auto error = model.signature("error"), gradient = model.signature("logpdf_and_gradient");
        const auto all = [&](const std::vector<double>& theta, std::size_t rows) {
            auto answers = gradient(theta, rows);
            answers.merge(error(theta, rows));
            return answers;
        };
        return published::check(folder, "tensorflow", model.signature("logpdf"), all);
    });
}
