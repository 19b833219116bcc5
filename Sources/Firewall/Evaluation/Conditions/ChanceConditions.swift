extension ConditionCompiler {
  /// `-m statistic`: undecided but for chances that are none.
  ///
  /// The kernel draws 31 bits and compares them with the chance in 2^31ths, so that a probability of
  /// 1 always matches and 0 never; `--every 1` always matches.
  func compileStatistic(_ options: [Option]) -> [Condition]? {
    let undecided = Self.knownUndecidable["statistic"].map { [Condition.undecidable($0)] }
    var chance: (share: Double, isInverted: Bool)?
    for option in options {
      switch option.name {
      case "--mode", "--packet": break
      case "--probability", "--every":
        guard chance == nil, let number = option.only.flatMap(Double.init), number.isFinite else {
          return undecided
        }
        chance = (option.name == "--every" ? (number == 1 ? 1 : 0.5) : number, option.isInverted)
      default: return undecided
      }
    }
    guard let chance, chance.share == 0 || chance.share == 1 else { return undecided }
    return [(chance.share == 1) != chance.isInverted ? .always : .never]
  }

  /// `-m quota`: undecided but for one that holds nothing.
  func compileQuota(_ options: [Option]) -> [Condition]? {
    guard options.count == 1, options[0].name == "--quota",
      let quota = options[0].only.flatMap(UInt64.init), quota == 0
    else { return Self.knownUndecidable["quota"].map { [.undecidable($0)] } }
    return [options[0].isInverted ? .always : .never]
  }
}
