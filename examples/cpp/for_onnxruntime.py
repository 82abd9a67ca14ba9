"""Make an ORT_ROOT of the Python wheel: python for_onnxruntime.py FOLDER

The wheel `onnxruntime` holds the library and no headers. Here the library gets the names a linker looks for, and beside
it a header with what `with_onnxruntime.cpp` calls and nothing else: enough to build it where no release is unpacked.
"""

import importlib.util
import sys
from pathlib import Path

FUNCTIONS = {
    2: "const char* (*GetErrorMessage)(const OrtStatus*)",
    3: "OrtStatus* (*CreateEnv)(int, const char*, OrtEnv**)",
    7: "OrtStatus* (*CreateSession)(const OrtEnv*, const char*, const OrtSessionOptions*, OrtSession**)",
    9: "OrtStatus* (*Run)(OrtSession*, const void*, const char* const*, const OrtValue* const*, size_t, "
    "const char* const*, size_t, OrtValue**)",
    10: "OrtStatus* (*CreateSessionOptions)(OrtSessionOptions**)",
    24: "OrtStatus* (*SetIntraOpNumThreads)(OrtSessionOptions*, int)",
    49: "OrtStatus* (*CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo*, void*, size_t, const int64_t*, size_t, "
    "int, OrtValue**)",
    51: "OrtStatus* (*GetTensorMutableData)(OrtValue*, void**)",
    64: "OrtStatus* (*GetTensorShapeElementCount)(const OrtTensorTypeAndShapeInfo*, size_t*)",
    65: "OrtStatus* (*GetTensorTypeAndShape)(const OrtValue*, OrtTensorTypeAndShapeInfo**)",
    69: "OrtStatus* (*CreateCpuMemoryInfo)(int, int, OrtMemoryInfo**)",
    93: "void (*ReleaseStatus)(OrtStatus*)",
    96: "void (*ReleaseValue)(OrtValue*)",
    99: "void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo*)",
    100: "void (*ReleaseSessionOptions)(OrtSessionOptions*)",
}
"""What with_onnxruntime.cpp calls, by its place in the table of functions, which no release changes."""
KINDS = ("Status", "Env", "Session", "SessionOptions", "MemoryInfo", "Value", "TensorTypeAndShapeInfo")


def header() -> str:
    """The functions at their places, everything else as pointers that nobody calls."""
    table = [FUNCTIONS.get(i, f"void (*function_{i})()") for i in range(max(FUNCTIONS) + 1)]
    lines = (
        "#pragma once",
        "#include <cstddef>",
        "#include <cstdint>",
        *(f"struct Ort{kind};" for kind in KINDS),
        "enum { ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE = 11, ORT_LOGGING_LEVEL_WARNING = 2 };",
        "enum { OrtArenaAllocator = 1, OrtMemTypeDefault = 0 };",
        "struct OrtApi {",
        *(f"    {function};" for function in table),
        "};",
        "struct OrtApiBase { const OrtApi* (*GetApi)(uint32_t); const char* (*GetVersionString)(); };",
        'extern "C" const OrtApiBase* OrtGetApiBase();',
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write include/ and lib/."""
    folder, found = Path(sys.argv[1]), importlib.util.find_spec("onnxruntime")
    libraries = sorted(Path(found.origin).parent.glob("capi/libonnxruntime.so.*")) if found and found.origin else []
    if not libraries:
        sys.exit("this needs the wheel onnxruntime for Linux: pip install onnxruntime")
    for part in ("include", "lib"):
        (folder / part).mkdir(parents=True)
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / "lib" / name).symlink_to(libraries[0])
    (folder / "include" / "onnxruntime_c_api.h").write_text(header(), "utf-8")


if __name__ == "__main__":
    main()
