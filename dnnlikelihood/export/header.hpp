// What the numbers above mean. Everything is plain C++17; nothing is kept between calls, so threads may share it.

namespace detail {

enum class Activation { selu, silu, gelu, softplus, tanh, relu, leaky_relu, identity, square, log, excess };

inline float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

inline float gelu_tanh(float x) { return std::tanh(gelu_rate * (x + gelu_cubic * x * x * x)); }

inline float value(Activation activation, float x) {
    switch (activation) {
        case Activation::selu: return selu_scale * (x > 0 ? x : selu_alpha * std::expm1(x));
        case Activation::silu: return x * sigmoid(x);
        case Activation::gelu: return 0.5f * x * (1 + gelu_tanh(x));
        case Activation::softplus: return std::max(x, 0.0f) + std::log1p(std::exp(-std::abs(x)));
        case Activation::tanh: return std::tanh(x);
        case Activation::relu: return std::max(x, 0.0f);
        case Activation::leaky_relu: return x > 0 ? x : leaky_slope * x;
        case Activation::square: return x * x;
        case Activation::log: return std::log(std::max(x, log_floor));
        case Activation::excess:
            return std::exp(std::min(x, excess_knee)) * (1 + std::max(x - excess_knee, 0.0f)) - (1 + x);
        default: return x;
    }
}

inline float slope(Activation activation, float x) {
    switch (activation) {
        case Activation::selu: return selu_scale * (x > 0 ? 1 : selu_alpha * std::exp(x));
        case Activation::silu: {
            const float s = sigmoid(x);
            return s + x * s * (1 - s);
        }
        case Activation::gelu: {
            const float t = gelu_tanh(x);
            return 0.5f * (1 + t + x * (1 - t * t) * gelu_rate * (1 + 3 * gelu_cubic * x * x));
        }
        case Activation::softplus: return sigmoid(x);
        case Activation::tanh: {
            const float t = std::tanh(x);
            return 1 - t * t;
        }
        case Activation::relu: return x > 0 ? 1.0f : 0.0f;
        case Activation::leaky_relu: return x > 0 ? 1.0f : leaky_slope;
        case Activation::square: return 2 * x;
        case Activation::log: return x > log_floor ? 1 / x : 0.0f;
        case Activation::excess: return std::expm1(std::min(x, excess_knee));
        default: return 1.0f;
    }
}

// h = activation([outputs of `inputs`] kernel + bias); output 0 is the features, or their monomials.
struct Layer {
    const int* inputs;
    int n_inputs;
    const float* kernel;
    const float* bias;
    std::size_t width;
    Activation activation;
};

struct Member {
    const Layer* layers;
    std::size_t n_layers;
    bool expand;
};

using Features = std::array<double, n_features>;

struct Head {
    double constant, scale, floor;
    const double* linear;
    const double* matrix;
    const double* edges;
    const double* factors;
    const double* limits;
    std::size_t n_edges;

    // b(f), and its slopes.
    double baseline(const Features& f, Features& slopes) const {
        double value = constant;
        for (std::size_t i = 0; i < n_features; ++i) {
            double along = 0.0;
            for (std::size_t j = 0; j < n_features; ++j) along += matrix[i * n_features + j] * f[j];
            value += f[i] * (linear[i] + 0.5 * along);
            slopes[i] = linear[i] + along;
        }
        return value;
    }

    // The calibration bin of an answer.
    std::ptrdiff_t bin(double logpdf) const { return std::upper_bound(edges, edges + n_edges, logpdf) - edges; }
};

@MODEL@

using Coordinates = std::array<double, n_coordinates>;

// What the networks know: the point itself, or a matrix times it where the surrogate was reparametrised.
inline Coordinates coordinates(const double* point) {
    Coordinates theta{};
    for (std::size_t i = 0; i < n_coordinates; ++i) {
        if (!reparametrised) theta[i] = point[i];
        else
            for (std::size_t j = 0; j < n_parameters; ++j) theta[i] += matrix[i * n_parameters + j] * point[j];
    }
    return theta;
}

inline Features features(const Coordinates& theta) {
    Features f{};
    for (std::size_t i = 0; i < n_coordinates; ++i) f[i] = (theta[i] - shift[i]) / scale[i];
    for (std::size_t k = 0; k < n_kinks; ++k) {
        const int column = kink_columns[k];
        f[n_coordinates + k] = std::max((theta[column] - kink_values[k]) / scale[column], 0.0);
    }
    return f;
}

// a += x W for the rows of W that belong to x.
inline void forward(const float* x, std::size_t n, const float* kernel, float* a, std::size_t width) {
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t o = 0; o < width; ++o) a[o] += x[i] * kernel[i * width + o];
}

// x += W a for the same rows; sums in lanes, which a compiler may hold in one register.
inline void backward(const float* a, std::size_t width, const float* kernel, float* x, std::size_t n) {
    constexpr std::size_t lanes = 8;
    for (std::size_t i = 0; i < n; ++i) {
        const float* row = kernel + i * width;
        float sums[lanes] = {};
        std::size_t o = 0;
        for (; o + lanes <= width; o += lanes)
            for (std::size_t l = 0; l < lanes; ++l) sums[l] += row[o + l] * a[o + l];
        for (; o < width; ++o) sums[0] += row[o] * a[o];
        for (const float sum : sums) x[i] += sum;
    }
}

// One network at one point: its outputs, and the slopes of one of them.
class Network {
public:
    Network(const Member& member, const Features& f) : member_(member), outputs_(member.n_layers + 1) {
        outputs_[0].assign(f.begin(), f.end());
        if (member.expand)
            for (std::size_t i = 0; i < n_features; ++i)
                for (std::size_t j = i; j < n_features; ++j) outputs_[0].push_back(outputs_[0][i] * outputs_[0][j]);
        for (std::size_t i = 0; i < member.n_layers; ++i) {
            const Layer& layer = member.layers[i];
            std::vector<float> a(layer.bias, layer.bias + layer.width);
            const float* kernel = layer.kernel;
            for (int k = 0; k < layer.n_inputs; ++k) {
                const std::vector<float>& x = outputs_[layer.inputs[k]];
                forward(x.data(), x.size(), kernel, a.data(), layer.width);
                kernel += x.size() * layer.width;
            }
            before_.push_back(a);
            for (float& x : a) x = value(layer.activation, x);
            outputs_[i + 1] = std::move(a);
        }
    }

    double output(std::size_t head) const { return outputs_.back()[head]; }

    // d output / d features, added to `total` with a factor.
    void add_gradient(std::size_t head, double factor, Features& total) const {
        std::vector<std::vector<float>> upstream;
        for (const auto& h : outputs_) upstream.emplace_back(h.size(), 0.0f);
        upstream.back()[head] = 1.0f;
        for (std::size_t i = member_.n_layers; i > 0; --i) {
            const Layer& layer = member_.layers[i - 1];
            std::vector<float>& a = upstream[i];
            for (std::size_t o = 0; o < layer.width; ++o) a[o] *= slope(layer.activation, before_[i - 1][o]);
            const float* kernel = layer.kernel;
            for (int k = 0; k < layer.n_inputs; ++k) {
                std::vector<float>& x = upstream[layer.inputs[k]];
                backward(a.data(), layer.width, kernel, x.data(), x.size());
                kernel += x.size() * layer.width;
            }
        }
        const std::vector<float>& g = upstream[0];
        const std::vector<float>& f = outputs_[0];
        for (std::size_t i = 0; i < n_features; ++i) total[i] += factor * g[i];
        if (!member_.expand) return;
        for (std::size_t i = 0, at = n_features; i < n_features; ++i)
            for (std::size_t j = i; j < n_features; ++j, ++at) {
                total[i] += factor * g[at] * f[j];
                total[j] += factor * g[at] * f[i];
            }
    }

private:
    const Member& member_;
    std::vector<std::vector<float>> outputs_, before_;
};

inline bool at_anchor(const Coordinates& theta) { return anchored && std::equal(theta.begin(), theta.end(), shift); }

struct Found {
    double logpdf, spread;
    bool agree;  // no head is spread more than its calibration has seen
};

// The gradient too unless it is null.
inline Found evaluate(const double* point, std::size_t head, double* gradient) {
    const Coordinates theta = coordinates(point);
    const Features f = features(theta);
    std::array<Features, n_heads> slopes;
    std::array<double, n_heads> baselines;
    for (std::size_t i = 0; i < n_heads; ++i) baselines[i] = heads[i].baseline(f, slopes[i]);
    Features& total = slopes[head];
    std::array<std::array<double, n_members>, n_heads> residuals{};
    for (std::size_t k = 0; k < n_members; ++k) {
        const Network network(members[k], f);
        if (!at_anchor(theta))
            for (std::size_t i = 0; i < n_heads; ++i) residuals[i][k] = heads[i].scale * network.output(i);
        if (gradient) network.add_gradient(head, heads[head].scale / n_members, total);
    }
    Found found{0.0, 0.0, true};
    for (std::size_t i = 0; i < n_heads; ++i) {
        double mean = 0.0, variance = 0.0;
        for (const double residual : residuals[i]) mean += residual / n_members;
        for (const double residual : residuals[i]) variance += (residual - mean) * (residual - mean) / n_members;
        const double logpdf = baselines[i] + mean, spread = std::sqrt(variance);
        found.agree = found.agree && spread <= heads[i].limits[heads[i].bin(logpdf)];
        if (i != head) continue;
        found.logpdf = logpdf;
        found.spread = spread;
    }
    if (!gradient) return found;
    for (std::size_t k = 0; k < n_kinks; ++k)
        if (theta[kink_columns[k]] > kink_values[k]) total[kink_columns[k]] += total[n_coordinates + k];
    std::fill(gradient, gradient + n_parameters, 0.0);
    for (std::size_t i = 0; i < n_coordinates; ++i) {
        const double along = total[i] / scale[i];
        if (!reparametrised) gradient[i] = along;
        else
            for (std::size_t j = 0; j < n_parameters; ++j) gradient[j] += along * matrix[i * n_parameters + j];
    }
    return found;
}

// Inside the box and the ellipsoid of the training points.
inline bool enclosed(const double* point) {
    const Coordinates theta = coordinates(point);
    double square = 0.0;
    for (std::size_t i = 0; i < n_coordinates; ++i)
        if (!(theta[i] >= low[i] && theta[i] <= high[i])) return false;
    for (std::size_t j = 0; j < n_coordinates; ++j) {
        double along = 0.0;
        for (std::size_t i = 0; i < n_coordinates; ++i)
            along += (theta[i] - center[i]) * whitening[i * n_coordinates + j];
        square += along * along;
    }
    return std::sqrt(square) <= radius;
}

}  // namespace detail

/// What one evaluation tells.
struct Answer {
    double logpdf;
    double error;   ///< half-width of the calibrated 90 % band, nats; it holds where in_domain
    double spread;  ///< standard deviation of the members, nats
    bool in_domain;
};

/// Whether the networks were trained there, and agree; elsewhere the numbers mean nothing.
inline bool in_domain(const double* theta) {
    return detail::enclosed(theta) && detail::evaluate(theta, 0, nullptr).agree;
}

/// log-density, its error and spread, and whether the point is in the domain.
inline Answer evaluate(const double* theta, std::size_t head = 0) {
    const detail::Found found = detail::evaluate(theta, head, nullptr);
    const detail::Head& h = detail::heads[head];
    const double error = h.factors[h.bin(found.logpdf)] * (found.spread + h.floor);
    return {found.logpdf, error, found.spread, found.agree && detail::enclosed(theta)};
}

/// The log-density at theta[n_parameters].
inline double logpdf(const double* theta, std::size_t head = 0) {
    return detail::evaluate(theta, head, nullptr).logpdf;
}

/// The log-density; its slopes are written to gradient[n_parameters].
inline double logpdf_and_gradient(const double* theta, double* gradient, std::size_t head = 0) {
    return detail::evaluate(theta, head, gradient).logpdf;
}

/// Half-width of the calibrated 90 % band, nats.
inline double error(const double* theta, std::size_t head = 0) { return evaluate(theta, head).error; }
