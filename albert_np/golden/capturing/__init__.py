"""The tensors of torch modules, ONNX files and OpenVINO under the names of a trace."""
