extension ConditionCompiler {
  /// `-m time`.
  func compileTime(_ options: [Option]) -> [Condition]? {
    var condition = TimeCondition()
    for option in options {
      switch option.name {
      case "--timestart", "--timestop":
        guard let text = option.only, let seconds = Self.secondsOfDay(text) else { return nil }
        if option.name == "--timestart" {
          condition.dayStart = seconds
        } else {
          condition.dayStop = seconds
        }
      case "--datestart", "--datestop":
        guard let text = option.only, let seconds = Self.seconds(text) else { return nil }
        if option.name == "--datestart" {
          condition.start = seconds
        } else {
          condition.stop = seconds
        }
      case "--weekdays":
        guard let text = option.only, let days = Self.weekdays(text) else { return nil }
        condition.weekdays = option.isInverted ? Set(1...7).subtracting(days) : days
      case "--monthdays":
        guard let text = option.only else { return nil }
        let words = text.split(separator: ",", omittingEmptySubsequences: false)
        let days = Set(words.compactMap { Int($0) })
        guard days.isSubset(of: Set(1...31)), words.count >= days.count, !days.isEmpty else {
          return nil
        }
        condition.monthDays = option.isInverted ? Set(1...31).subtracting(days) : days
      case "--contiguous": condition.isContiguous = true
      case "--kerneltz", "--localtz": condition.usesKernelZone = true
      case "--utc": break
      default: return nil
      }
    }
    return [.other(condition)]
  }

  /// `HH:MM[:SS]` as seconds since midnight.
  private static func secondsOfDay(_ text: some StringProtocol) -> Int64? {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map { Int64($0) }
    guard (2...3).contains(parts.count), let hour = parts[0], let minute = parts[1],
      let second = parts.count == 3 ? parts[2] : 0, (0...23).contains(hour),
      (0...59).contains(minute), (0...59).contains(second)
    else { return nil }
    return hour * 3600 + minute * 60 + second
  }

  /// `YYYY[-MM[-DD[Thh[:mm[:ss]]]]]` as seconds since 1970.
  private static func seconds(_ text: String) -> Int64? {
    let halves = text.split(separator: "T", maxSplits: 1, omittingEmptySubsequences: false)
    let date = halves[0].split(separator: "-", omittingEmptySubsequences: false).map { Int64($0) }
    guard (1...3).contains(date.count), let year = date[0], (1970...2038).contains(year),
      let month = date.count > 1 ? date[1] : 1, (1...12).contains(month),
      let day = date.count > 2 ? date[2] : 1, (1...31).contains(day)
    else { return nil }
    var seconds: Int64 = 0
    if halves.count == 2 {
      let clock = halves[1].contains(":") ? String(halves[1]) : "\(halves[1]):00"
      guard let time = secondsOfDay(clock) else { return nil }
      seconds = time
    }
    return CivilDay(year: year, month: month, day: day).number * 86_400 + seconds
  }

  private static func weekdays(_ text: String) -> Set<Int>? {
    let names = ["mo", "tu", "we", "th", "fr", "sa", "su"]
    var result: Set<Int> = []
    for word in text.split(separator: ",", omittingEmptySubsequences: false) {
      if let number = Int(word), (1...7).contains(number) {
        result.insert(number)
      } else if word.utf8.count >= 2,
        let index = names.firstIndex(of: String(word.lowercased().prefix(2)))
      {
        result.insert(index + 1)
      } else {
        return nil
      }
    }
    return result
  }
}

/// A day of the proleptic Gregorian calendar as days since 1970-01-01 and back.
struct CivilDay {
  var number: Int64

  /// After Howard Hinnant's `days_from_civil`.
  init(year: Int64, month: Int64, day: Int64) {
    let shifted = month <= 2 ? year - 1 : year
    let era = (shifted >= 0 ? shifted : shifted - 399) / 400
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    number = era * 146_097 + dayOfEra - 719_468
  }

  init(number: Int64) { self.number = number }

  /// 1 for Monday to 7 for Sunday.
  var weekday: Int {
    let shifted = (number + 3) % 7
    return Int(shifted < 0 ? shifted + 7 : shifted) + 1
  }

  var dayOfMonth: Int {
    let shifted = number + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra =
      (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let month = (5 * dayOfYear + 2) / 153
    return Int(dayOfYear - (153 * month + 2) / 5 + 1)
  }
}

/// `-m time`, in UTC as the kernel counts unless told otherwise.
struct TimeCondition: MatchCondition {
  var start: Int64 = 0
  var stop: Int64 = .max
  var dayStart: Int64 = 0
  var dayStop: Int64 = 86_399
  var weekdays = Set(1...7)
  var monthDays = Set(1...31)
  var isContiguous = false
  var usesKernelZone = false

  func truth(_ situation: Situation, _ variant: Variant) -> Truth {
    guard let now = situation.host.time, !usesKernelZone else { return .unknown }
    return Truth(holds(at: now))
  }

  private func holds(at now: Int64) -> Bool {
    if now < start || now > stop { return false }
    var day = now >= 0 ? now / 86_400 : (now - 86_399) / 86_400
    let second = now - day * 86_400
    if dayStart < dayStop {
      if second < dayStart || second > dayStop { return false }
    } else {
      if second < dayStart, second > dayStop { return false }
      // After midnight a contiguous period belongs to the day it began on.
      if isContiguous, second <= dayStop { day -= 1 }
    }
    let civil = CivilDay(number: day)
    return weekdays.contains(civil.weekday) && monthDays.contains(civil.dayOfMonth)
  }

  func missing(_ situation: Situation, _ variant: Variant) -> Missing {
    Missing(
      .memory,
      situation.host.time == nil
        ? "the time of the observation is not known" : "the kernel's time zone is not known")
  }

  func memory(_ situation: Situation) -> String? { "the answer changes with the hour" }
}
