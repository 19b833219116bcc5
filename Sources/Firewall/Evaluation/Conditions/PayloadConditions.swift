extension ConditionCompiler {
  func compileString(_ options: [Option]) -> [Condition]? {
    [.undecidable(Missing(.payload, "match \"string\" hangs on what is in the packet"))]
  }

  func compileU32(_ options: [Option]) -> [Condition]? {
    [.undecidable(Missing(.payload, "match \"u32\" hangs on what is in the packet"))]
  }

  func compileBPF(_ options: [Option]) -> [Condition]? {
    [.undecidable(Missing(.payload, "match \"bpf\" hangs on what is in the packet"))]
  }
}
