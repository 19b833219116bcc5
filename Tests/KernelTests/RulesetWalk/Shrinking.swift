import Firewall
import TestSupport

/// Makes a failing scenario small while it keeps failing.
///
/// Packets, backends, tables, rules, chains, sets and sets' entries are left out, many at a time and
/// then one by one. What the tools refuse then does not fail, so nothing here knows what refers to
/// what.
struct Shrinking {
  /// Whether a scenario fails.
  var fails: (FirewallScenario) async throws -> Bool

  /// The smallest scenario found.
  func smallest(_ scenario: FirewallScenario) async throws -> FirewallScenario {
    var best = scenario
    for number in scenario.packets.indices {
      var one = scenario
      one.packets = [scenario.packets[number]]
      if try await fails(one) {
        best = one
        break
      }
    }
    for backend in best.backends where best.saves.count > 1 {
      var less = best
      less.saves[backend] = nil
      if try await fails(less) { best = less }
    }
    var size = Int.max
    // Leaving out one line can make another superfluous.
    while Self.size(best) < size {
      size = Self.size(best)
      for backend in best.backends {
        best = try await reduce(best, Self.sections(best.saves[backend] ?? "")) { scenario, kept in
          scenario.saves[backend] = kept.joined()
        }
        best = try await reduce(best, Self.lines(best.saves[backend] ?? "")) { scenario, kept in
          scenario.saves[backend] = kept.joined()
        }
      }
      best = try await reduce(best, best.sets) { $0.sets = $1 }
      for index in best.sets.indices {
        best = try await reduce(best, best.sets[index].entries) { $0.sets[index].entries = $1 }
      }
    }
    return best
  }

  /// Leaves out as many parts as possible, in ever smaller runs.
  private func reduce<Part>(
    _ scenario: FirewallScenario, _ parts: [Part],
    _ put: (inout FirewallScenario, [Part]) -> Void
  ) async throws -> FirewallScenario {
    var best = scenario
    var kept = parts
    var length = kept.count
    while length > 0 {
      var start = 0
      while start < kept.count {
        var fewer = kept
        fewer.removeSubrange(start..<min(start + length, kept.count))
        var trial = best
        put(&trial, fewer)
        if try await fails(trial) {
          best = trial
          kept = fewer
        } else {
          start += length
        }
      }
      length /= 2
    }
    return best
  }

  private static func size(_ scenario: FirewallScenario) -> Int {
    scenario.saves.values.reduce(scenario.setText.count) { $0 + $1.count }
  }

  /// The tables of a save, each from its name to its COMMIT.
  private static func sections(_ save: String) -> [String] {
    var result: [String] = []
    for line in lines(save) {
      if line.first == "*" || result.isEmpty { result.append("") }
      result[result.count - 1] += line
    }
    return result
  }

  private static func lines(_ save: String) -> [String] {
    save.split(separator: "\n").map { $0 + "\n" }
  }
}
