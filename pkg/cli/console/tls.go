package console

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"

	"github.com/omnicloud/omnicloud/pkg/omni"
)

// transport speaks TLS as the environment or the context says; nil, which is the default, when they say nothing.
func (c *Console) transport() (http.RoundTripper, error) {
	named, err := c.named()
	if err != nil {
		return nil, err
	}
	ca := first(c.Environ("OMNI_CA_FILE"), named.CAFile)
	cert, key := first(c.Environ("OMNI_CERT_FILE"), named.CertFile), first(c.Environ("OMNI_KEY_FILE"), named.KeyFile)
	if ca == "" && cert == "" && key == "" {
		return nil, nil //nolint:nilnil // the default transport
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca) //nolint:gosec // the file that the user named
		if err != nil {
			return nil, omni.Errorf(omni.CodeInvalid, "the CA's file cannot be read: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, omni.Errorf(omni.CodeInvalid, "%s holds no certificate (PEM)", ca)
		}
	}
	if (cert == "") != (key == "") {
		return nil, Usage("OMNI_CERT_FILE and OMNI_KEY_FILE (cert_file and key_file of a context) go together: give both or neither")
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, omni.Errorf(omni.CodeInvalid, "the client's certificate cannot be used: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}, nil
	}
	transport = transport.Clone()
	transport.TLSClientConfig = config
	return transport, nil
}
