// The values of a published model on OpenCV's dnn module: single precision, one point a call, no error and no guard.
//
// OpenCV (4.6) cannot read model.onnx itself; `python for_opencv.py FOLDER OUT.onnx` rewrites it:
//
//     build/with_opencv FOLDER OUT.onnx
#include <opencv2/dnn.hpp>

#include "published.hpp"

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: %s FOLDER OUT.onnx\n", argv[0]);
        return 2;
    }
    const std::string rewritten = argv[2];
    return published::guarded(2, argv, [&](const std::string& folder) {
        cv::setNumThreads(1);
        cv::dnn::Net net = cv::dnn::readNetFromONNX(rewritten);
        const auto values = [&net](const std::vector<double>& theta, std::size_t rows) {
            const std::size_t width = theta.size() / rows;
            std::vector<double> logpdf;
            for (std::size_t row = 0; row < rows; ++row) {
                cv::Mat point(1, int(width), CV_32F);
                for (std::size_t i = 0; i < width; ++i) point.at<float>(0, int(i)) = float(theta[row * width + i]);
                net.setInput(point, "theta");
                logpdf.push_back(net.forward("logpdf").at<float>(0));
            }
            return std::map<std::string, std::vector<double>>{{"logpdf", logpdf}};
        };
        return published::check(folder, "opencv", values, published::Model(), /*single=*/true);
    });
}
