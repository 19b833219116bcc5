import SIPLeak
import Synchronization

/// Prints the steps of a block as they are done; thousands of a kind in few writes.
///
/// What has been done is printed at once: only more of the same is waited for, and not for the last
/// block.
final class StepOutput: Sendable {
  private struct State {
    var text = ""
    var blocksLeft: Int
    /// The words for an end, by the seconds until then: nearly always the same for all.
    var ends: [UInt32: String] = [:]
  }

  /// Bytes that are held back at most.
  private static let most = 1 << 16

  private let state: Mutex<State>
  private let now: Double
  private let style = Console.style

  /// Prepares for a plan.
  ///
  /// - Parameters:
  ///   - now: When blocks begin, in seconds since 1970 UTC.
  ///   - blocks: How many steps `blocked` there will be.
  init(now: Double, blocks: Int) {
    self.now = now
    state = Mutex(State(blocksLeft: blocks))
  }

  /// Takes a step.
  func take(_ step: Enforcement.Step) {
    state.withLock { state in
      var text = step.text
      if step.name == "blocked" {
        state.blocksLeft -= 1
        if let seconds = step.seconds { text += end(seconds, &state) }
      }
      state.text += StepText.line(step.name, text, style: style)
      let isOneOfMany =
        step.name == "blocked" && state.blocksLeft > 0 || step.name == "verified"
      if !isOneOfMany || state.text.utf8.count >= Self.most { Self.print(&state) }
    }
  }

  /// Prints what is left.
  func flush() { state.withLock { Self.print(&$0) } }

  private static func print(_ state: inout State) {
    guard !state.text.isEmpty else { return }
    Console.print(state.text)
    state.text = ""
  }

  private func end(_ seconds: UInt32, _ state: inout State) -> String {
    if let known = state.ends[seconds] { return known }
    let words =
      seconds == 0
      ? " until unblocked" : " until " + Quantity.utc(now + Double(seconds), toMinute: true)
    state.ends[seconds] = words
    return words
  }
}
