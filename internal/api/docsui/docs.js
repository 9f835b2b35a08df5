"use strict";

// Starts Swagger UI with the specification of the server that served the page.
// The address is relative, so that the page also works below a prefix of a proxy.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  // A validator would be sent the specification, and it lives on another host.
  validatorUrl: null,
  // The page's own query string chooses nothing: a link must not make it show,
  // or send requests to, a server of somebody else.
  queryConfigEnabled: false,
});
