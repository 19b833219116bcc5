internal import Subprocess
internal import SystemPackage

/// A command that prints who belongs, such as `asterisk -rx 'pjsip show contacts'`.
///
/// No shell: the words are split as a shell would with quotes and backslashes, and nothing is expanded.
public struct TrustCommand: Sendable, Hashable {
  /// The command as it was given.
  public var text: String
  /// Its words.
  public var words: [String]

  /// How long it may take.
  static let longest = Duration.seconds(10)

  /// Reads a command line.
  ///
  /// - Parameter text: The command; `nil` comes back for an open quote, for what only a shell
  ///   understands outside of quotes, and for no words at all.
  public init?(_ text: String) {
    self.text = text
    var words: [String] = []
    var word: String?
    var quote: Character?
    var characters = text.makeIterator()
    while let character = characters.next() {
      switch (character, quote) {
      case ("\0", _): return nil
      case (let end, let open?) where end == open: quote = nil
      case ("\\", let open) where open != "'":
        guard let next = characters.next() else { return nil }
        // Within double quotes only these lose the backslash.
        let isPlain = open == nil || next == "\"" || next == "\\"
        word = (word ?? "") + (isPlain ? "" : "\\") + String(next)
      case (_, _?): word = (word ?? "") + String(character)
      case ("'", nil), ("\"", nil):
        quote = character
        word = word ?? ""
      case (" ", nil), ("\t", nil), ("\n", nil):
        if let done = word { words.append(done) }
        word = nil
      default:
        if "|&;<>()$`*?".contains(character) { return nil }
        word = (word ?? "") + String(character)
      }
    }
    guard quote == nil else { return nil }
    if let done = word { words.append(done) }
    guard let first = words.first, !first.isEmpty else { return nil }
    self.words = words
  }

  /// Runs it: ten seconds at most, and a mebibyte.
  ///
  /// - Returns: What it printed, or why it gave nothing that can be used.
  func run() async -> Result<[UInt8], Failure> {
    await withTaskGroup(of: Result<[UInt8], Failure>?.self) { group in
      group.addTask { await self.output() }
      group.addTask {
        do { try await Task.sleep(for: Self.longest) } catch { return nil }
        return .failure(Failure(why: "it did not end within 10s"))
      }
      var result: Result<[UInt8], Failure> = .failure(Failure(why: "it could not be run"))
      while let next = await group.next() {
        guard let next else { continue }
        result = next
        break
      }
      group.cancelAll()
      return result
    }
  }

  /// Why a command gave nothing.
  struct Failure: Error { var why: String }

  private func output() async -> Result<[UInt8], Failure> {
    var options = PlatformOptions()
    // Its own group, so that nothing it started is left behind.
    options.processGroupID = 0
    options.teardownSequence = [
      .send(
        signal: .terminate, toProcessGroup: true, allowedDurationToNextStep: .milliseconds(500)),
      .send(signal: .kill, toProcessGroup: true, allowedDurationToNextStep: .milliseconds(100)),
    ]
    let program: Executable = words[0].contains("/") ? .path(FilePath(words[0])) : .name(words[0])
    let configuration = Configuration(
      executable: program, arguments: Arguments(Array(words.dropFirst())),
      environment: .inherit.updating(["LC_ALL": "C", "TERM": "dumb"]), platformOptions: options)
    do {
      let result = try await Subprocess.run(
        configuration, output: .bytes(limit: TrustList.largest), error: .bytes(limit: 1 << 16))
      guard result.terminationStatus.isSuccess else {
        let said = String(decoding: result.standardError.prefix(200), as: UTF8.self).trimmed
        let words = said.isEmpty ? "" : ": " + (said.split(whereSeparator: \.isNewline).first ?? "")
        return .failure(Failure(why: "it failed (\(result.terminationStatus))\(words)"))
      }
      return .success(result.standardOutput)
    } catch let error as SubprocessError where error.code == .outputLimitExceeded {
      return .failure(Failure(why: "it printed more than 1 MiB"))
    } catch let error as SubprocessError where error.code == .executableNotFound {
      return .failure(Failure(why: "there is no such program"))
    } catch {
      return .failure(Failure(why: "it could not be run: \(error)"))
    }
  }
}
