import ArgumentParser
import Glibc

/// `sipleak-bench until`: when a program has said something for the last time.
struct Until: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run a program and print the seconds until the last line that begins with a word.")

  @Argument(help: "The word, blanks before it aside.") var word: String
  @Argument(parsing: .captureForPassthrough, help: "The program and its arguments.")
  var command: [String] = []

  func run() throws {
    let clock = ContinuousClock()
    let start = clock.now
    // Words of the benchmark alone, none of which a shell would read otherwise.
    guard let pipe = unsafe popen(command.joined(separator: " "), "r") else {
      throw BenchError(description: "cannot run \(command)")
    }
    var last: Duration?
    var line = [CChar](repeating: 0, count: 4096)
    while unsafe fgets(&line, Int32(line.count), pipe) != nil {
      let text = String(
        decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      if text.drop(while: { $0 == " " }).hasPrefix(word) { last = clock.now - start }
    }
    let status = unsafe pclose(pipe)
    guard status == 0, let last else {
      throw BenchError(description: "\(command): status \(status), \(word) was not said")
    }
    print(last / .seconds(1))
  }
}
