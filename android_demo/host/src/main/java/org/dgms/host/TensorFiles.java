package org.dgms.host;

import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import org.dgms.demo.bench.PathKind;
import org.dgms.demo.bench.TensorSink;

/**
 * Watches the first input's tensors go by: writes their raw bytes to files (MODEL.inputI.bin,
 * MODEL.PATH.outputI.bin), and keeps what the outputs' bound needs to know.
 */
final class TensorFiles implements TensorSink {
  private final File folder; // null: nothing is written
  private final String model;
  private boolean integers = true;
  private double largest;

  TensorFiles(File folder, String model) {
    this.folder = folder;
    this.model = model;
  }

  @Override
  public void input(int tensor, String dtype, ByteBuffer bytes) {
    write(model + ".input" + tensor + ".bin", bytes);
  }

  @Override
  public void output(PathKind path, int tensor, String dtype, ByteBuffer bytes) {
    if (dtype.equals("float32")) {
      integers = false;
      for (int i = 0; i < bytes.limit(); i += 4) {
        largest = Math.max(largest, Math.abs(bytes.getFloat(i)));
      }
    }
    write(model + "." + path.id().replace(':', '_') + ".output" + tensor + ".bin", bytes);
  }

  /** Whether no output is of floats. */
  boolean outputsAreIntegers() {
    return integers;
  }

  /** The largest absolute value of any float output. */
  double largestOutput() {
    return largest;
  }

  private void write(String name, ByteBuffer bytes) {
    if (folder == null) {
      return;
    }
    byte[] copy = new byte[bytes.remaining()];
    bytes.get(copy);
    try {
      Files.createDirectories(folder.toPath());
      Path part = folder.toPath().resolve("." + name + ".part");
      Files.write(part, copy);
      Files.move(part, folder.toPath().resolve(name), StandardCopyOption.ATOMIC_MOVE);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
