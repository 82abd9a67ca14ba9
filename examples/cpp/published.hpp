// A published folder as C++ sees it: the reference points, and whether a runtime gives their numbers back.
//
//     |logpdf - reference|   <= tolerance, which reference.npz has for every point: 1e-5 max(1, |residual|) nats,
//                               where the residual is the networks' part; in folders without it, the distance from
//                               the highest logpdf stands for the residual
//     |gradient - reference| <= 1e-4 max(1, largest slope of the point)
//     |error - reference|    <= ten times that of logpdf,      in_domain the same everywhere, also at points beyond
//
// A runtime that knows single precision only is granted 8 units in the last place of logpdf on top of the first, and
// for a point that lies within that of a calibration bin's edge the error of the other bin would be as good.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <exception>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace published {

// Rows of numbers; in_domain is 0 and 1.
struct Array {
    std::vector<double> data;
    std::size_t rows = 0;
    std::size_t width() const { return rows ? data.size() / rows : 0; }
};

using Arrays = std::map<std::string, Array>;

// theta, row by row, and the number of rows -> outputs by name, row by row.
using Model = std::function<std::map<std::string, std::vector<double>>(const std::vector<double>&, std::size_t)>;

// reference.npz -----------------------------------------------------------------------------------------------------

template <typename T>
T number(const std::string& bytes, std::size_t at) {
    T value;
    if (at + sizeof(T) > bytes.size()) throw std::runtime_error("truncated file");
    std::memcpy(&value, bytes.data() + at, sizeof(T));
    return value;
}

// One .npy: magic (6), version (2), length of the header (2), a header that names type and shape, the numbers.
inline Array read_npy(const std::string& bytes) {
    if (bytes.compare(0, 8, std::string("\x93NUMPY\x01\x00", 8)) != 0) throw std::runtime_error("not an npy array");
    const std::size_t start = 10 + number<std::uint16_t>(bytes, 8);
    const std::string header = bytes.substr(10, start - 10);
    const bool is_double = header.find("'<f8'") != std::string::npos;
    if (!is_double && header.find("'|b1'") == std::string::npos) throw std::runtime_error("neither double nor bool");
    if (header.find("'fortran_order': False") == std::string::npos) throw std::runtime_error("not row by row");
    Array array;
    array.rows = std::stoul(header.substr(header.find("'shape': (") + 10));
    const std::size_t size = is_double ? sizeof(double) : 1;
    for (std::size_t at = start; at + size <= bytes.size(); at += size)
        array.data.push_back(is_double ? number<double>(bytes, at) : double(bytes[at] != 0));
    return array;
}

// An npz is a zip archive, and this one is not compressed: the directory at its end says where each array lies.
inline Arrays read_npz(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("cannot read " + path);
    const std::string zip((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    const std::size_t end = zip.rfind("PK\x05\x06");
    if (end == std::string::npos) throw std::runtime_error(path + " is not a zip archive");
    Arrays arrays;
    std::size_t at = number<std::uint32_t>(zip, end + 16);
    for (int left = number<std::uint16_t>(zip, end + 10); left > 0; --left) {
        if (number<std::uint16_t>(zip, at + 10) != 0) throw std::runtime_error(path + " is compressed");
        const std::size_t size = number<std::uint32_t>(zip, at + 24), entry = number<std::uint32_t>(zip, at + 42);
        const std::size_t length = number<std::uint16_t>(zip, at + 28);
        const std::string name = zip.substr(at + 46, length);
        const std::size_t data =
            entry + 30 + number<std::uint16_t>(zip, entry + 26) + number<std::uint16_t>(zip, entry + 28);
        arrays[name.substr(0, name.rfind(".npy"))] = read_npy(zip.substr(data, size));
        at += 46 + length + number<std::uint16_t>(zip, at + 30) + number<std::uint16_t>(zip, at + 32);
    }
    return arrays;
}

// Comparing -----------------------------------------------------------------------------------------------------------

struct Deviation {
    double largest = 0.0;         // in the unit of the output
    double in_tolerances = 0.0;   // what is granted is 1
};

inline Deviation compare(const std::string& name, const std::vector<double>& answer, const Arrays& reference,
                         bool single) {
    const Array& expected = reference.at(name);
    const Array& logpdf = reference.at("logpdf");
    if (answer.size() != expected.data.size())
        throw std::runtime_error(name + " has " + std::to_string(answer.size()) + " numbers, expected " +
                                 std::to_string(expected.data.size()));
    const double highest = *std::max_element(logpdf.data.begin(), logpdf.data.end());
    const auto nats = [&](std::size_t i) {
        const auto stated = reference.find("tolerance");
        return stated != reference.end() ? stated->second.data[i] : 1e-5 * std::max(1.0, highest - logpdf.data[i]);
    };
    const std::size_t width = expected.width();
    Deviation found;
    for (std::size_t row = 0; row < expected.rows; ++row) {
        const auto first = expected.data.begin() + row * width;
        double slope = 1.0;
        for (std::size_t j = 0; j < width; ++j) slope = std::max(slope, std::abs(first[j]));
        for (std::size_t j = 0; j < width; ++j) {
            double granted = 0.5;  // in_domain
            if (name == "logpdf") {
                granted = nats(row * width + j);
                if (single) granted += 8 * std::ldexp(std::abs(first[j]), -24);
            }
            if (name == "gradient") granted = 1e-4 * slope;
            if (name == "error") granted = 10 * nats(row * width + j);
            const double off = std::abs(answer[row * width + j] - first[j]);
            found.largest = std::max(found.largest, off);
            const double ratio = off / granted;
            if (!(ratio <= found.in_tolerances)) found.in_tolerances = ratio;  // also when it is NaN
        }
    }
    return found;
}

// CPU microseconds of one point: the best of seven bursts, so that a busy machine does not count.
inline double latency(const Model& model, const Array& theta) {
    const std::vector<double> point(theta.data.begin(), theta.data.begin() + theta.width());
    double best = 1e9;
    for (int burst = 0; burst < 7; ++burst) {
        const std::clock_t start = std::clock();
        for (int i = 0; i < 300; ++i) model(point, 1);
        best = std::min(best, 1e6 * double(std::clock() - start) / CLOCKS_PER_SEC / 300);
    }
    return best;
}

// Evaluate the reference points, print one line of JSON, and return the exit code: 0 if everything agrees.
// `gradient` is a model with all outputs, `values` one without the gradient; either may be empty.
inline int check(const std::string& folder, const std::string& runtime, const Model& values, const Model& gradient,
                 bool single = false) {
    const Arrays reference = read_npz(folder + "/reference.npz");
    const Array& theta = reference.at("theta");
    std::string line;
    bool agrees = true;
    const auto print = [&line](const char* format, auto... numbers) {
        char text[256];
        std::snprintf(text, sizeof text, format, numbers...);
        line += text;
    };
    const auto run = [&](const char* graph, const Model& model) {
        if (!model) return;
        const auto answers = model(theta.data, theta.rows);
        print(", \"%s\": {\"microseconds\": %.3g", graph, latency(model, theta));
        if (reference.count("guard_theta") && answers.count("in_domain")) {
            const Array& about = reference.at("guard_theta");
            const bool same = model(about.data, about.rows).at("in_domain") == reference.at("guard_in_domain").data;
            agrees = agrees && same;
            print(", \"guard\": %s", same ? "true" : "false");
        }
        for (const auto& [name, numbers] : answers) {
            if (!reference.count(name)) continue;  // spread
            const Deviation found = compare(name, numbers, reference, single);
            agrees = agrees && found.in_tolerances <= 1.0;
            print(", \"%s\": %.3g", name.c_str(), std::isfinite(found.largest) ? found.largest : -1.0);
        }
        line += "}";
    };
    run("values", values);
    run("gradient", gradient);
    std::printf("{\"runtime\": \"%s\", \"points\": %zu, \"agrees\": %s%s}\n", runtime.c_str(), theta.rows,
                agrees ? "true" : "false", line.c_str());
    return agrees ? 0 : 1;
}

// What every main() does: the folder from the command line, exceptions as messages, exit code 2.
template <typename Program>
int guarded(int argc, char** argv, const Program& program) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s FOLDER    (a published model)\n", argv[0]);
        return 2;
    }
    try {
        return program(std::string(argv[1]));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
        return 2;
    }
}

}  // namespace published
