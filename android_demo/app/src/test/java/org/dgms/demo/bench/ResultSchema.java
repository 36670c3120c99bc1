package org.dgms.demo.bench;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.networknt.schema.JsonSchema;
import com.networknt.schema.JsonSchemaFactory;
import com.networknt.schema.SpecVersion;
import com.networknt.schema.ValidationMessage;
import java.io.File;
import java.io.IOException;
import java.util.Set;

/** The schema that the desktop's results follow too (system property dgms.schema). */
final class ResultSchema {
  private ResultSchema() {}

  /** Fails unless the text follows the schema. */
  static void check(String json) throws IOException {
    String file = System.getProperty("dgms.schema");
    JsonSchema schema =
        JsonSchemaFactory.getInstance(SpecVersion.VersionFlag.V202012)
            .getSchema(Files.readText(new File(file)));
    Set<ValidationMessage> mistakes = schema.validate(new ObjectMapper().readTree(json));
    if (!mistakes.isEmpty()) {
      throw new AssertionError("a result must follow " + file + ". Received: " + mistakes);
    }
  }
}
