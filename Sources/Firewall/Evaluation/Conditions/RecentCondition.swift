extension ConditionCompiler {
  /// `-m recent`: the lists are no part of the snapshot.
  func compileRecent(_ options: [Option]) -> [Condition]? {
    var list = "DEFAULT"
    var sets: Bool?
    for option in options {
      switch option.name {
      case "--name": list = option.only ?? list
      // Adding an address always succeeds, so the condition holds, or does not if inverted.
      case "--set": sets = !option.isInverted
      case "--rcheck", "--update", "--remove", "--seconds", "--hitcount", "--rttl", "--mask",
        "--rsource", "--rdest", "--reap":
        break
      default: return nil
      }
    }
    if let sets { return [sets ? .always : .never] }
    return [
      .undecidable(Missing(.memory, "match \"recent\" asks list \"\(list)\", which was not read"))
    ]
  }
}
