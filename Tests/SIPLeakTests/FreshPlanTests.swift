import SIPLeak
import Testing

@Suite("A plan is made afresh")
struct FreshPlanTests {
  private static func stale() -> SIPLeakError {
    var error = SIPLeakError(.unchanged, "the firewall changed")
    error.isStale = true
    return error
  }

  @Test("while the firewall changes under it, up to the number of attempts")
  func stale() async throws {
    var made = 0
    var told: [Int] = []
    let result = try await Enforcement.whileStale(attempts: 5) {
      told.append($0)
    } _: {
      made += 1
      if made < 3 { throw Self.stale() }
      return made
    }
    #expect(result == 3)
    #expect(told == [2, 3])

    made = 0
    await #expect {
      try await Enforcement.whileStale(attempts: 2) {
        made += 1
        throw Self.stale()
      }
    } throws: {
      ($0 as? SIPLeakError)?.isStale == true
    }
    #expect(made == 2)
  }

  @Test("never after any other failure")
  func other() async throws {
    for code in [SIPLeakError.Code.unchanged, .undone, .notUndone, .locked] {
      var made = 0
      await #expect(throws: SIPLeakError.self) {
        try await Enforcement.whileStale(attempts: 5) {
          made += 1
          throw SIPLeakError(code, "for another reason")
        }
      }
      #expect(made == 1)
    }
  }
}
