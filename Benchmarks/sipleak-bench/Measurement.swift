import Lab
import SystemPackage

/// What one run of a program took.
struct Measurement {
  var seconds: Double
  /// Seconds of processor, of user and system.
  var processor: Double
  /// The greatest resident memory of any of its processes, in KiB.
  var peak: Int
  var status: Int
}

/// Something that is measured: one program, or several one after another.
struct Contender {
  var name: String
  var commands: [[String]]
  var runs: [Measurement] = []

  var median: Double { Self.median(runs.map(\.seconds)) }
  var processor: Double { Self.median(runs.map(\.processor)) }
  var peak: Int { runs.map(\.peak).max() ?? 0 }
  var range: (least: Double, most: Double) {
    let seconds = runs.map(\.seconds)
    return (seconds.min() ?? 0, seconds.max() ?? 0)
  }

  /// The middle of the ratios of runs made one after another: a slow minute slows both.
  func ratio(to other: Contender) -> Double {
    Self.median(zip(runs, other.runs).map { $0.seconds / $1.seconds })
  }

  static func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    guard !sorted.isEmpty else { return 0 }
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  }
}

/// Runs programs on a host of the lab and measures them.
struct Stopwatch {
  let host: LabHost
  /// The C program that measures: its own memory is too small to be counted for the program's.
  let floor: String

  /// Runs every contender in turn, as many rounds as asked.
  func race(_ contenders: inout [Contender], rounds: Int) async throws {
    for _ in 0..<rounds {
      for index in contenders.indices {
        var sum = Measurement(seconds: 0, processor: 0, peak: 0, status: 0)
        for command in contenders[index].commands {
          let one = try await measure(command)
          sum.seconds += one.seconds
          sum.processor += one.processor
          sum.peak = max(sum.peak, one.peak)
        }
        contenders[index].runs.append(sum)
      }
    }
  }

  /// Runs a program once.
  ///
  /// - Parameters:
  ///   - command: The program and its arguments.
  ///   - output: Where its standard output goes.
  /// - Returns: What it took.
  /// - Throws: If it can't be run, or failed.
  func measure(_ command: [String], output: String = "/dev/null") async throws -> Measurement {
    let file = "/run/sipleak-bench.measure"
    let result = try await host.run([floor, "measure", file, output] + command)
    let text = try await host.run(["cat", file]).output
    let fields = text.split(whereSeparator: \.isWhitespace)
    guard fields.count == 4, let seconds = Double(fields[0]), let processor = Double(fields[1]),
      let peak = Int(fields[2]), let status = Int(fields[3])
    else {
      throw BenchError(description: "no measurement of \(command): \(text) \(result.errors)")
    }
    // Findings are no failure.
    guard status < 3 else {
      throw BenchError(
        description: "\(command.joined(separator: " ")): status \(status): \(result.errors)")
    }
    return Measurement(seconds: seconds, processor: processor, peak: peak, status: status)
  }

  /// Runs a program once and returns what it printed.
  func output(_ command: [String]) async throws -> String {
    let file = "/run/sipleak-bench.output"
    _ = try await measure(command, output: file)
    return try await host.run(["cat", file]).output
  }
}

/// Why nothing could be measured.
struct BenchError: Error, CustomStringConvertible {
  var description: String
}
