// A published model without any library: the header that `dnnlik header FOLDER` writes.
//
// The namespace is dnnlik::NAME; this program is built for any model, so the build says which it is.
#include MODEL_HPP

#include "published.hpp"

namespace model = MODEL_NAMESPACE;

namespace {

using Answers = std::map<std::string, std::vector<double>>;

// Point by point; with heads, head by head.
Answers evaluate(const std::vector<double>& theta, std::size_t rows, bool with_gradient) {
    Answers answers;
    for (std::size_t row = 0; row < rows; ++row) {
        const double* point = theta.data() + row * model::n_parameters;
        answers["in_domain"].push_back(model::in_domain(point));
        for (std::size_t head = 0; head < model::n_heads; ++head) {
            const model::Answer answer = model::evaluate(point, head);
            answers["logpdf"].push_back(answer.logpdf);
            answers["error"].push_back(answer.error);
        }
    }
    if (!with_gradient) return answers;
    std::vector<double>& gradients = answers["gradient"];
    gradients.resize(rows * model::n_heads * model::n_parameters);
    for (std::size_t row = 0; row < rows; ++row)
        for (std::size_t head = 0; head < model::n_heads; ++head) {
            double* gradient = gradients.data() + (row * model::n_heads + head) * model::n_parameters;
            model::logpdf_and_gradient(theta.data() + row * model::n_parameters, gradient, head);
        }
    return answers;
}

// For the clock: what one answer of each kind costs.
Answers only_logpdf(const std::vector<double>& theta, std::size_t rows) {
    Answers answers;
    for (std::size_t row = 0; row < rows; ++row)
        for (std::size_t head = 0; head < model::n_heads; ++head)
            answers["logpdf"].push_back(model::logpdf(theta.data() + row * model::n_parameters, head));
    return answers;
}

}  // namespace

int main(int argc, char** argv) {
    return published::guarded(argc, argv, [](const std::string& folder) {
        const auto all = [](const std::vector<double>& theta, std::size_t rows) { return evaluate(theta, rows, true); };
        return published::check(folder, "header", only_logpdf, all);
    });
}
